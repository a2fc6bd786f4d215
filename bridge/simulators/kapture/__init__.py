"""A simulated Kapture account."""
