"""The TLS context of this process."""

import ssl
from functools import cache
from pathlib import Path

import certifi


@cache
def tls_context() -> ssl.SSLContext:
    """Asks for a valid certificate of the host's name. Made once, for all connections.

    The layer has each authority in a file of its own (certificates.py); OpenSSL reads those that it meets.
    That takes 5 ms of processor; to parse the bundle, as development does, takes 22.
    """
    bundle = Path(certifi.where())
    folder = bundle.with_name("hashed")
    if folder.is_dir():
        return ssl.create_default_context(capath=folder)
    return ssl.create_default_context(cafile=bundle)
