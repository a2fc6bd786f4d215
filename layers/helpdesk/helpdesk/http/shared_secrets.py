"""Secrets shared with senders: cached, and read again when a call does not verify."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import UnavailableError
from helpdesk.http.calls import Call
from helpdesk.http.signatures import DEPENDS_ON_SECRET, Verification, is_long_enough, refusal

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

# A flood of forged calls must not become one of calls to Secrets Manager.
_PAUSE_S = 5.0
_MOST_SECRETS = 4
# Why is said in the log by the code: it is nothing that a caller could put right.
_DETAIL = "The sender cannot be verified now; repeat later."


class SharedSecrets:
    """The live secrets of each sender: `{"secrets": ["new", "old"]}`, `{"secret": "…"}`, or a plain text."""

    def __init__(self, client: "SecretsManagerClient", clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        # As last read; a failure stands for itself for as long as nothing is read again.
        self._known: dict[str, tuple[str, ...] | UnavailableError] = {}
        self._read_at: dict[str, float] = {}
        self._reread_at: dict[str, float] = {}

    def refusal(self, scheme: Verification, secret_id: str, call: Call, now: float) -> str | None:
        """Why the call is not to be trusted, as a code; None where it is. `now` is in seconds since 1970.

        Raises:
            UnavailableError: the secret cannot be read or used, and the call holds what it should.
        """
        # Compared with no secret at all, a call fails by what it lacks.
        why = refusal(scheme, (), call, now)
        if why not in DEPENDS_ON_SECRET:
            return why
        secrets = self._current(scheme, secret_id)
        if not secrets:
            return "no_secret"
        why = refusal(scheme, secrets, call, now)
        if why in DEPENDS_ON_SECRET and (newer := self._newer(scheme, secret_id)):
            why = refusal(scheme, newer, call, now)
        return why

    def _current(self, scheme: Verification, secret_id: str) -> tuple[str, ...]:
        """The secrets as last read; none where there is no such secret."""
        known = self._known.get(secret_id)
        is_usable = isinstance(known, tuple) and known
        if not is_usable and self._is_due(self._read_at, secret_id):
            self._known[secret_id] = known = self._read(scheme, secret_id)
        if known is None:
            # The read that was begun a moment ago has not ended.
            known = _unusable("secret_unreadable")
        if isinstance(known, UnavailableError):
            raise UnavailableError(known.code, known.message) from known.__cause__
        return known

    def _newer(self, scheme: Verification, secret_id: str) -> tuple[str, ...]:
        """The secrets as they are now; none where they were read again a moment ago."""
        if not self._is_due(self._reread_at, secret_id):
            return ()
        read = self._read(scheme, secret_id)
        if isinstance(read, UnavailableError):
            raise read
        self._known[secret_id] = read
        return read

    def _is_due(self, at: dict[str, float], secret_id: str) -> bool:
        now = self._clock()
        if now - at.get(secret_id, float("-inf")) < _PAUSE_S:
            return False
        at[secret_id] = now
        return True

    def _read(self, scheme: Verification, secret_id: str) -> tuple[str, ...] | UnavailableError:
        try:
            text = self._client.get_secret_value(SecretId=secret_id).get("SecretString", "")
        except ClientError as error:
            is_missing = error.response.get("Error", {}).get("Code") == "ResourceNotFoundException"
            return () if is_missing else _unusable("secret_unreadable", error)
        except BotoCoreError as error:
            return _unusable("secret_unreadable", error)
        found = _secrets_in(text)
        if not found:
            return _unusable("secret_malformed")
        try:
            is_safe = all(is_long_enough(scheme, secret) for secret in found)
        except ValueError as error:
            return _unusable("secret_malformed", error)
        return found if is_safe else _unusable("secret_too_short")


def _unusable(code: str, cause: Exception | None = None) -> UnavailableError:
    error = UnavailableError(code, _DETAIL)
    error.__cause__ = cause
    return error


def _secrets_in(text: str) -> tuple[str, ...]:
    listed: object = [text.strip()]
    if text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
        except ValueError:
            return ()
        listed = content.get("secrets", [content.get("secret")])
    if not isinstance(listed, list):
        return ()
    # An empty one would verify what anybody can compute.
    return tuple(one.strip() for one in listed if isinstance(one, str) and one.strip())[:_MOST_SECRETS]
