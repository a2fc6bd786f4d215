"""Talks to a helpdesk, remembers what was asked, and answers: the layer that all functions share."""
