"""What an operator sees and does in a running stack: requests, dead letters, stories, removal, forgetting."""
