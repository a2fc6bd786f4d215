"""A simulated Socialboards account."""
