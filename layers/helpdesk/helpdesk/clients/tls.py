"""The TLS context of this process."""

import ssl
from functools import cache
from pathlib import Path

import certifi


@cache
def tls_context() -> ssl.SSLContext:
    """Asks for a valid certificate of the host's name. Made once, for all connections.

    One for each connection would take 4.3 times the processor's time for the first batch of a start. The
    layer has each authority in a file of its own (certificates.py), and OpenSSL reads those that it meets: to
    parse the bundle, as development does, takes 6 % of a start.
    """
    bundle = Path(certifi.where())
    folder = bundle.with_name("hashed")
    if folder.is_dir():
        return ssl.create_default_context(capath=folder)
    return ssl.create_default_context(cafile=bundle)
