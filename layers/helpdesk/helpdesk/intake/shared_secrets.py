"""Secrets shared with senders: cached, and read again when a call does not verify."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

# A flood of forged calls must not become one of calls to Secrets Manager.
_PAUSE_S = 5.0
_MOST_SECRETS = 4


class SharedSecrets:
    """The live secrets of each sender: `{"secrets": ["new", "old"]}`, `{"secret": "…"}`, or a plain text."""

    def __init__(self, client: "SecretsManagerClient", clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[str, tuple[str, ...]] = {}
        self._reread_at: dict[str, float] = {}

    def current(self, secret_id: str) -> tuple[str, ...]:
        """The secrets as last read, never empty.

        Raises:
            UnavailableError: there is no such secret, or it cannot be read or used.
        """
        if secret_id not in self._known:
            self._known[secret_id] = self._read(secret_id)
        return self._known[secret_id]

    def newer(self, secret_id: str, refused: tuple[str, ...]) -> tuple[str, ...] | None:
        """Other secrets than those by which a call did not verify, or None. Raises as `current`."""
        now = self._clock()
        if now - self._reread_at.get(secret_id, float("-inf")) < _PAUSE_S:
            return None
        self._reread_at[secret_id] = now
        self._known[secret_id] = self._read(secret_id)
        return self._known[secret_id] if self._known[secret_id] != refused else None

    def _read(self, secret_id: str) -> tuple[str, ...]:
        try:
            text = self._client.get_secret_value(SecretId=secret_id).get("SecretString", "")
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise UnavailableError("secret_unreadable", f"Secrets Manager refused: {code}") from error
        except BotoCoreError as error:
            raise UnavailableError("secret_unreadable", "Secrets Manager does not answer") from error
        found = _secrets_in(text)
        if not found:
            raise UnavailableError("secret_malformed", 'the secret holds no {"secrets": ["..."]}')
        return found


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
