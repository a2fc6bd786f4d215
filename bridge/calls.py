"""HTTP calls that know nothing of the user's own set-up."""

from __future__ import annotations

from typing import Any

import requests


def call(method: str, url: str, **arguments: Any) -> requests.Response:
    """The response as it comes: no redirect is followed. Raises RequestException."""
    with requests.Session() as session:
        # Neither a proxy nor a .netrc of the user's.
        session.trust_env = False
        return session.request(method, url, allow_redirects=False, **arguments)
