"""From what arrives - a message, a call, a form - to a request."""
