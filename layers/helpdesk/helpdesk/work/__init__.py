"""What is done with requests: carried out, looked up, watched, audited."""
