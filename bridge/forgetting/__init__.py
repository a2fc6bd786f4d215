"""What a stack holds of a person, a request or a ticket is found and removed."""
