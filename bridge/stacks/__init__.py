"""What is done to any stack, local or deployed."""
