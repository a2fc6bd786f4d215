"""Sends as a form's service does: the headers and the path by which the form verifies its sender."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from helpdesk.http.signatures import (
    Hmac,
    SecretHeader,
    encoded,
    mac,
)

if TYPE_CHECKING:
    from helpdesk.http.forms.form_file import Form


@dataclass(frozen=True)
class Signed:
    """What a verified call carries besides its body."""

    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""


def needs_secret(form: Form) -> bool:
    """Whether a call of the form shows that it knows a secret."""
    return form.verify != "none"


def sign(form: Form, secret: str, raw: bytes, at: float | None = None) -> Signed:
    """The headers, and the path below the API, of a call with this body that is sent at `at`."""
    path = f"/forms/{form.name}"
    scheme = form.verify
    if scheme == "path":
        return Signed(path=f"{path}/{secret}")
    if isinstance(scheme, SecretHeader):
        return Signed({scheme.header: f"{scheme.prefix}{secret}"}, path)
    if isinstance(scheme, Hmac):
        return Signed(_headers_of(scheme, secret, raw, at or time.time()), path)
    return Signed(path=path)


def _headers_of(scheme: Hmac, secret: str, raw: bytes, at: float) -> dict[str, str]:
    timestamp = str(int(at))
    call_id = f"call-{timestamp}"
    signature = scheme.prefix + encoded(scheme, mac(scheme, secret, raw, timestamp, call_id))
    headers = {scheme.header: signature}
    if scheme.id_header:
        headers[scheme.id_header] = call_id
    if scheme.timestamp and scheme.timestamp.header:
        headers[scheme.timestamp.header] = timestamp
    elif scheme.timestamp:
        headers[scheme.header] = f"{scheme.timestamp.key}={timestamp},{signature}"
    return headers
