"""Verifies who sends: a signature over the raw bytes, or a shared secret in a header or in the path.

Everything is compared in constant time, and with each live secret, so a secret can change while calls are
on their way.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from helpdesk.clients.secrets import Secret, sender_secrets_in
from helpdesk.errors import RejectedError, UnavailableError
from helpdesk.http.gateway import Call

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

PLACES = re.compile(r"(\{(?:body|timestamp|id)\})")
# A larger number is one of milliseconds.
_MOST_SECONDS = 100_000_000_000
# In bytes, after the prefix is removed and the encoding decoded.
SHORTEST_SECRET = 16
# A header with more is not one that a sender makes.
_MOST_SIGNATURES = 10
# A flood of forged calls must not become one of calls to Secrets Manager.
_PAUSE_S = 5.0


class Timestamp(NamedTuple):
    """Where the time of sending stands: in a header of its own, or in the signature's header as `key=…`."""

    header: str | None
    key: str | None
    window_s: int


class Hmac(NamedTuple):
    """An HMAC in a header; `signed` says what it is over."""

    header: str
    algorithm: str
    encoding: Literal["hex", "base64"]
    prefix: str
    signed: str
    id_header: str | None
    key_encoding: Literal["text", "base64"]
    key_prefix: str
    timestamp: Timestamp | None


class SecretHeader(NamedTuple):
    """The secret itself in a header, for senders that cannot sign."""

    header: str
    prefix: str = ""


# "path": the secret is the last part of the path, for senders that cannot even set a header.
# "none": anybody may send.
type Verification = Hmac | SecretHeader | Literal["path", "none"]

_DEPENDS_ON_SECRET = ("wrong_secret", "wrong_signature")


def verification(plain: Any) -> Verification:
    """A form's way to verify its senders, from what the build writes of it."""
    if isinstance(plain, str):
        return "none" if plain == "none" else "path"
    if "signed" not in plain:
        return SecretHeader(**plain)
    timestamp = plain["timestamp"]
    return Hmac(**plain | {"timestamp": Timestamp(**timestamp) if timestamp else None})


def call_id(scheme: Verification, call: Call) -> str | None:
    """The sender's own id of this submission, from a header.

    In a signed call only what is signed counts: whoever overhears a call can add any other header to it.
    """
    names = (scheme.id_header,) if isinstance(scheme, Hmac) else ("idempotency-key", "webhook-id")
    return next((value for name in names if name and (value := call.headers.get(name))), None)


def refusal(scheme: Verification, secrets: Sequence[str], call: Call, now: float) -> str | None:
    """Why the call is not to be trusted, as a code; None where it is. `now` is in seconds since 1970.

    Only the codes of `_DEPENDS_ON_SECRET` can be due to a secret that has changed since it was read.
    """
    if scheme == "none":
        return None
    if scheme == "path":
        return _shared(secrets, call.path_secret)
    if isinstance(scheme, SecretHeader):
        value = call.headers.get(scheme.header)
        if value is None or not value.startswith(scheme.prefix):
            return "secret_missing"
        return _shared(secrets, value.removeprefix(scheme.prefix).strip())
    return _wrong_signature(scheme, secrets, call, now)


class Verifier:
    """Verifies calls with secrets that are kept, and read again when a call does not verify."""

    def __init__(self, client: "SecretsManagerClient", clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._secrets: dict[str, Secret[tuple[str, ...]]] = {}

    def verify(self, scheme: Verification, secret_id: str, call: Call) -> None:
        """Returns where the call is to be trusted.

        Raises:
            RejectedError: it is not; the code says why.
            UnavailableError: the secret cannot be read or used, and the call holds what it should.
        """
        try:
            why = self._refusal(scheme, secret_id, call)
        except UnavailableError as error:
            # The log says why, by the code: a caller could not put it right.
            detail = "The sender cannot be verified now; repeat later."
            raise UnavailableError(error.code, detail) from error.__cause__
        if why:
            raise RejectedError(why, "the sender is not verified")

    def _refusal(self, scheme: Verification, secret_id: str, call: Call) -> str | None:
        now = self._clock()
        # Compared with no secret at all, a call fails by what it lacks, and costs no read.
        why = refusal(scheme, (), call, now)
        if why not in _DEPENDS_ON_SECRET:
            return why
        if secret_id not in self._secrets:
            parse = partial(_secrets_in, scheme)
            self._secrets[secret_id] = Secret(
                self._client, secret_id, parse, missing=(), pause_s=_PAUSE_S, clock=self._clock
            )
        secret = self._secrets[secret_id]
        live = secret.current()
        if not live:
            return "no_secret"
        why = refusal(scheme, live, call, now)
        if why in _DEPENDS_ON_SECRET and (newer := secret.newer(live, now)):
            why = refusal(scheme, newer, call, now)
        return why


def _secrets_in(scheme: Verification, text: str) -> tuple[str, ...]:
    secrets = sender_secrets_in(text)
    try:
        are_long_enough = all(is_long_enough(scheme, secret) for secret in secrets)
    except ValueError as error:
        raise UnavailableError("secret_malformed", "the secret is not in its encoding") from error
    if not are_long_enough:
        raise UnavailableError("secret_too_short", f"the secret has less than {SHORTEST_SECRET} bytes")
    return secrets


def mac(scheme: Hmac, secret: str, raw: bytes, timestamp: str = "", call_id: str = "") -> bytes:
    """The bytes of the signature. Raises ValueError where the secret is not in its encoding."""
    texts = {"{timestamp}": timestamp.encode(), "{id}": call_id.encode(), "{body}": raw}
    signed = b"".join(texts.get(part, part.encode()) for part in PLACES.split(scheme.signed))
    return hmac.digest(_key(scheme, secret), signed, scheme.algorithm)


def is_long_enough(scheme: Verification, secret: str) -> bool:
    """Whether the secret is too long to be guessed. Raises ValueError where it is not in its encoding."""
    key = _key(scheme, secret) if isinstance(scheme, Hmac) else secret.encode()
    return len(key) >= SHORTEST_SECRET


def _key(scheme: Hmac, secret: str) -> bytes:
    key = secret.removeprefix(scheme.key_prefix)
    return base64.b64decode(key, validate=True) if scheme.key_encoding == "base64" else key.encode()


def encoded(scheme: Hmac, signature: bytes) -> str:
    """The signature as it stands in the header, without its prefix."""
    return signature.hex() if scheme.encoding == "hex" else base64.b64encode(signature).decode()


def _shared(secrets: Sequence[str], sent: str | None) -> str | None:
    if not sent:
        return "secret_missing"
    # Digests have one length, whatever was sent; all are compared, whichever fits.
    theirs = hashlib.sha256(sent.encode(errors="replace")).digest()
    fits = [hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), theirs) for secret in secrets]
    return None if any(fits) else "wrong_secret"


def _wrong_signature(scheme: Hmac, secrets: Sequence[str], call: Call, now: float) -> str | None:
    header = call.headers.get(scheme.header)
    if not header:
        return "signature_missing"
    timestamp = ""
    if scheme.timestamp:
        timestamp = _timestamp_in(scheme.timestamp, header, call.headers)
        sent_at = _seconds(timestamp)
        if sent_at is None:
            return "timestamp_missing"
        if abs(now - sent_at) > scheme.timestamp.window_s:
            return "timestamp_outside_window"
    signatures = list(_signatures_in(scheme, header))
    sent_id = call.headers.get(scheme.id_header, "") if scheme.id_header else ""
    if any(text in sent_id for text in _beside_id(scheme)):
        # The same signed bytes could be read as another id and another body.
        return "wrong_signature"
    ours = [mac(scheme, secret, call.raw, timestamp, sent_id) for secret in secrets]
    fits = [hmac.compare_digest(our, signature) for our in ours for signature in signatures]
    return None if any(fits) else "wrong_signature"


def _beside_id(scheme: Hmac) -> list[str]:
    parts = ["", *PLACES.split(scheme.signed), ""]
    places = [place for place, part in enumerate(parts) if part == "{id}"]
    return [text for place in places for text in (parts[place - 1], parts[place + 1]) if text]


def _signatures_in(scheme: Hmac, header: str) -> Iterator[bytes]:
    """The header's signatures: a sender that changes its secret sends one for each."""
    parts = header.split(",") if scheme.timestamp and scheme.timestamp.key else header.split()
    for part in parts[:_MOST_SIGNATURES]:
        text = part.strip()
        if not text.startswith(scheme.prefix):
            continue
        try:
            bare = text.removeprefix(scheme.prefix)
            yield bytes.fromhex(bare) if scheme.encoding == "hex" else base64.b64decode(bare, validate=True)
        except (ValueError, binascii.Error):
            continue


def _timestamp_in(where: Timestamp, signature_header: str, headers: Mapping[str, str]) -> str:
    if where.header:
        return headers.get(where.header, "").strip()
    parts = (part.strip().partition("=") for part in signature_header.split(","))
    return next((value for name, _, value in parts if name == where.key), "")


def _seconds(text: str) -> float | None:
    """Seconds or milliseconds since 1970, or a moment with its offset."""
    if re.fullmatch(r"[0-9]{1,15}", text):
        number = float(text)
        return number if number < _MOST_SECONDS else number / 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
