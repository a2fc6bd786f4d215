"""Socialboards: its client, and what its callbacks say."""
