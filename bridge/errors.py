"""The one exception that the tools raise for what a person can put right."""

from __future__ import annotations


class BridgeError(Exception):
    """A failure whose message says what to look at or to do; shown without a stack trace."""
