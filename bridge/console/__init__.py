"""The console: one page on loopback that shows a stack at work and lets a person act on it."""
