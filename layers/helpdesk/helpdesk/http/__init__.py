"""What the public edge does: who may ask, and how we respond."""
