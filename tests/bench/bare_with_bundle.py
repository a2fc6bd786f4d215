"""The same as `bare`, and the certificates of the system's authorities."""

import ssl

from bare import handler  # type: ignore[import-not-found]  # a worker has this folder in its path

__all__ = ["handler"]

ssl.create_default_context()
