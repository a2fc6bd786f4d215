"""Finds out how an account of a helpdesk behaves, and what follows from it."""
