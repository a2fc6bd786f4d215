"""What calls a helpdesk: the port that each client fills, and what all clients share."""
