"""What is done over HTTP, by the API and at the public edge: who may ask, and how we respond."""
