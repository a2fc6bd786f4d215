"""What is checked: a folder before it is deployed, a stack that runs, and a stack from end to end."""
