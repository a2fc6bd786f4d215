"""The TLS context of this process."""

import ssl
from functools import cache

import certifi


@cache
def tls_context() -> ssl.SSLContext:
    """Asks for a valid certificate of the host's name. Made once: parsing the CA bundle takes 15 to 30 ms."""
    return ssl.create_default_context(cafile=certifi.where())
