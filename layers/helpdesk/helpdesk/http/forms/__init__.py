"""Form submissions: read, verified, and mapped to requests."""
