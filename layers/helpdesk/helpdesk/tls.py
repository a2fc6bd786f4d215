"""The TLS context of this process."""

import ssl
from functools import cache
from pathlib import Path

import certifi


@cache
def tls_context() -> ssl.SSLContext:
    """Asks for a valid certificate of the host's name. Made once, for all connections.

    The layer has each authority in a file of its own (certificates.py), of which OpenSSL reads those that it
    meets. The bundle, which development has, takes 15 to 30 ms to parse.
    """
    bundle = Path(certifi.where())
    folder = bundle.with_name("hashed")
    if folder.is_dir():
        return ssl.create_default_context(capath=folder)
    return ssl.create_default_context(cafile=bundle)
