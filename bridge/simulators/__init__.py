"""Helpdesks on loopback: the documented wire format with its quirks, and faults on demand.

They bind to 127.0.0.1 only and keep everything in memory.
"""
