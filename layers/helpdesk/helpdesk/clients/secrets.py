"""Reads secrets: helpdesks' tokens, senders' secrets, the markers' keys. Each is kept until it is refused."""

import json
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import HelpdeskError, UnauthorizedError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

# It goes into a header: a line break or a letter beyond ASCII would break the call itself.
_TOKEN = re.compile(r"[\x20-\x7e]+")
_SHORTEST_KEY = 32
_MOST_SENDER_SECRETS = 4


class Secret[T]:
    """One secret's value, as `parse` reads it from the secret's text; kept until it is refused.

    `parse` raises UnauthorizedError or UnavailableError where the text is unusable. `missing` is the value of
    a secret that does not exist; without it that is an error. In `pause_s` seconds at most one read follows a
    failed read, and at most one a refusal: strangers' calls must not flood Secrets Manager.
    """

    def __init__(
        self,
        client: "SecretsManagerClient",
        secret_id: str,
        parse: Callable[[str], T],
        *,
        missing: T | None = None,
        pause_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._parse = parse
        self._missing = missing
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._value: T | None = None
        self._version: str | None = None
        self._expires_on: date | None = None
        self._read_at = self._ended_at = self._reread_at = float("-inf")
        self._failure: UnavailableError | UnauthorizedError | None = None

    def current(self) -> T:
        """The value as last read.

        Raises:
            UnavailableError: Secrets Manager does not answer, or `parse` says so.
            UnauthorizedError: the secret holds nothing usable.
        """
        since = self._clock()
        with self._lock:
            # A missing secret is empty, and is looked for again as after a failure.
            return self._value or self._read(is_due=self._ended_at <= since - self._pause_s)

    def newer(self, refused: T, since: float) -> T | None:
        """Another value than `refused`, or None.

        The secret is read again unless that happened after `since`, when the refused call began: ten calls
        that are refused together read it once. Raises as `current`.
        """
        with self._lock:
            if self._value != refused:
                return self._value
            if 0 <= since - self._reread_at < self._pause_s:
                return None
            is_due = self._read_at <= since
            if is_due:
                self._reread_at = since
            value = self._read(is_due=is_due)
        return value if value != refused else None

    def version(self, *, fresh: bool) -> str | None:
        """Changes when the secret does; a malformed secret has a version too. Read again where `fresh`.

        None where the secret has never been read.
        """
        since = self._clock()
        with self._lock:
            if fresh:
                with suppress(HelpdeskError):
                    self._read(is_due=self._ended_at <= since)
            return self._version

    @property
    def expires_on(self) -> date | None:
        """The day on which the key expires, where the secret as last read says so."""
        return self._expires_on

    def _read(self, *, is_due: bool) -> T:
        """The secret's value, read now where that is due.

        If it is not, another call has read the secret while this one waited, and its failure is shared as
        well: ten calls would otherwise wait for Secrets Manager one after the other.
        """
        if is_due:
            # Taken before the call, so a secret that changes during it counts as not yet seen.
            self._read_at = self._clock()
            self._failure = None
            try:
                self._value = self._fetch()
            except (UnavailableError, UnauthorizedError) as error:
                self._failure = error
            self._ended_at = self._clock()
        if self._failure or self._value is None:
            failure = self._failure or UnavailableError("secret_unreadable", "the secret was never read")
            raise _again(failure) from failure.__cause__
        return self._value

    def _fetch(self) -> T:
        try:
            secret = self._client.get_secret_value(SecretId=self._secret_id)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "ResourceNotFoundException" and self._missing is not None:
                return self._missing
            raise UnavailableError("secret_unreadable", f"Secrets Manager refused: {code}") from error
        except BotoCoreError as error:
            raise UnavailableError("secret_unreadable", "Secrets Manager does not answer") from error
        self._version = secret["VersionId"]
        text = secret.get("SecretString", "")
        self._expires_on = _expires_on_in(text)
        return self._parse(text)


class RefreshCredentials(NamedTuple):
    """What access tokens are minted from."""

    refresh_token: str
    client_id: str


@dataclass(frozen=True)
class OperationKeys:
    """The keys of a helpdesk: `own` holds those of single operations, `token` opens the others.

    None stands for a key that is missing, or that no header can hold.
    """

    token: str | None = field(repr=False)
    own: Mapping[str, str | None] = field(repr=False)

    def get(self, operation: str) -> str | None:
        """The key of an operation, if the secret holds one."""
        return self.own.get(operation, self.token)

    def of(self, operation: str) -> str:
        """The key of an operation. Raises UnauthorizedError where the secret holds none."""
        key = self.get(operation)
        if key is None:
            raise UnauthorizedError("key_missing", f"the secret holds no usable key for {operation}")
        return key


def keys_in(text: str, operations: Collection[str]) -> OperationKeys:
    """The keys in a secret's text: `{"token": "...", "get": "..."}`, or the token alone."""
    fields = _fields_in(text, alone="token")
    token = _usable(fields.get("token"))
    own = {operation: _usable(fields[operation]) for operation in operations if operation in fields}
    if token is None and not any(own.values()):
        raise UnauthorizedError("secret_malformed", 'the secret holds neither {"token": "..."} nor a token')
    return OperationKeys(token, own)


def refresh_credentials_in(text: str) -> RefreshCredentials:
    """The credentials in a secret's text: `{"refresh_token": "...", "client_id": "..."}`."""
    fields = _fields_in(text)
    refresh_token, client_id = _usable(fields.get("refresh_token")), _usable(fields.get("client_id"))
    if refresh_token is None or client_id is None:
        form = '{"refresh_token": "...", "client_id": "..."}'
        raise UnauthorizedError("secret_malformed", f"the secret does not hold {form}")
    return RefreshCredentials(refresh_token, client_id)


def marker_keys_in(text: str) -> tuple[bytes, ...]:
    """The keys in a secret's text, the newest first: `{"key": "..."}` or `{"keys": ["...", "..."]}`."""
    keys = [_usable(key) or "" for key in _listed(_fields_in(text), "key")]
    if not keys or min(map(len, keys)) < _SHORTEST_KEY:
        form = f'{{"key": "..."}} with {_SHORTEST_KEY} characters or more'
        raise UnavailableError("marker_key_malformed", f"the secret of the markers' key does not hold {form}")
    return tuple(key.encode() for key in keys)


def sender_secrets_in(text: str) -> tuple[str, ...]:
    """A sender's live secrets: `{"secrets": ["new", "old"]}`, `{"secret": "..."}`, or the secret alone."""
    secrets = _listed(_fields_in(text, alone="secret"), "secret")
    # An empty secret would verify what anybody can compute.
    usable = [secret.strip() for secret in secrets if isinstance(secret, str) and secret.strip()]
    if not usable:
        raise UnavailableError("secret_malformed", "the secret holds none that a sender can share")
    return tuple(usable[:_MOST_SENDER_SECRETS])


def _expires_on_in(text: str) -> date | None:
    """The day in `{"expires_on": "2027-03-01"}`; None for any other text."""
    try:
        return date.fromisoformat(str(_fields_in(text).get("expires_on")))
    except ValueError:
        return None


def _fields_in(text: str, alone: str | None = None) -> dict[str, object]:
    """The fields of a JSON object. `alone` names the one field of a text that is not meant to be one."""
    if alone and not text.lstrip().startswith("{"):
        return {alone: text}
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _listed(fields: dict[str, object], name: str) -> list[object]:
    """What stands under a name, or in a list under its plural."""
    listed = fields.get(f"{name}s", [fields.get(name)])
    return listed if isinstance(listed, list) else []


def _usable(token: object) -> str | None:
    return token.strip() if isinstance(token, str) and _TOKEN.fullmatch(token.strip()) else None


def _again(failure: UnavailableError | UnauthorizedError) -> UnavailableError | UnauthorizedError:
    """A copy for another thread: each raises an error of its own."""
    if isinstance(failure, UnavailableError):
        return UnavailableError(failure.code, failure.message, failure.retry_after)
    return UnauthorizedError(failure.code, failure.message, failure.operation)


class MintedToken:
    """Access tokens that `mint` makes from refresh credentials; each is used until shortly before it expires.

    `mint` returns the access token, its life in seconds and the refresh token that came with it; it raises
    UnauthorizedError where the credentials are refused. `replaced` is called when another refresh token came.
    This process uses that from then on, but may not write it into the secret.
    """

    # For a call that is under way, and for clocks that differ.
    _MARGIN_S = 120.0

    def __init__(
        self,
        secret: Secret[RefreshCredentials],
        mint: Callable[[RefreshCredentials, float], tuple[str, float, str | None]],
        replaced: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret = secret
        self._mint_with = mint
        self._replaced = replaced
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._ends_at = 0.0
        self._tried_at = self._ended_at = float("-inf")
        self._failure: UnavailableError | UnauthorizedError | None = None
        self._rotated: dict[RefreshCredentials, RefreshCredentials] = {}

    def current(self, deadline: float) -> str:
        """An access token that has not expired. Only one thread mints, the others wait. Raises as `mint`."""
        since = time.monotonic()
        with self._lock:
            if self._token is not None and self._clock() < self._ends_at - self._MARGIN_S:
                return self._token
            # If another thread minted while we waited, use its result.
            return self._minted(since if self._ended_at <= since else float("-inf"), deadline)

    def newer(self, refused: str, since: float, deadline: float) -> str:
        """Another access token than `refused`, which was refused to a call that began at `since`."""
        with self._lock:
            if self._token is not None and self._token != refused:
                return self._token
            return self._minted(since, deadline)

    def version(self, *, fresh: bool) -> str | None:
        """Changes when the secret does; read again where `fresh`."""
        return self._secret.version(fresh=fresh)

    @property
    def expires_on(self) -> date | None:
        """The day on which the refresh token expires, where the secret as last read says so."""
        return self._secret.expires_on

    def _minted(self, since: float, deadline: float) -> str:
        if self._tried_at <= since:
            self._tried_at = time.monotonic()
            self._token, self._failure = None, None
            try:
                self._token = self._mint(since, deadline)
            except (UnavailableError, UnauthorizedError) as error:
                self._failure = error
            self._ended_at = time.monotonic()
        if self._failure or self._token is None:
            failure = self._failure or UnavailableError("token_unavailable", "no access token was minted")
            raise _again(failure) from failure
        return self._token

    def _mint(self, since: float, deadline: float) -> str:
        stored = self._secret.current()
        # It is not documented whether the stored token stays valid once a reply has brought another.
        for used in dict.fromkeys((self._rotated.get(stored, stored), stored)):
            with suppress(UnauthorizedError):
                return self._mint_from(stored, used, deadline)
        newer = self._secret.newer(stored, since)
        if newer is None:
            raise UnauthorizedError("token_refused", "the helpdesk refuses our refresh token")
        return self._mint_from(newer, newer, deadline)

    def _mint_from(self, stored: RefreshCredentials, used: RefreshCredentials, deadline: float) -> str:
        token, life_s, returned = self._mint_with(used, deadline)
        self._ends_at = self._clock() + life_s
        if returned and returned != used.refresh_token:
            self._rotated = {stored: RefreshCredentials(returned, used.client_id)}
            self._replaced()
        return token
