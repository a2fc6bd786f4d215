"""The helpdesk's token: read from the secret once, and again as soon as the helpdesk refuses it."""

import json
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import HelpdeskError, UnauthorizedError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient


class SecretToken:
    """A token kept in Secrets Manager, as `{"token": "..."}` or as a plain string."""

    def __init__(self, client: "SecretsManagerClient", secret_arn: str) -> None:
        self._client = client
        self._secret_arn = secret_arn
        self._lock = threading.Lock()
        self._token: str | None = None
        self._version: str | None = None
        self._read_at = float("-inf")

    def current(self) -> str:
        """The token as last read.

        Raises:
            UnavailableError: Secrets Manager does not answer.
            UnauthorizedError: the secret holds no usable token.
        """
        with self._lock:
            return self._token or self._read()

    def newer(self, refused: str, since: float) -> str | None:
        """Another token than the one just refused, or None.

        The secret is read again unless that already happened after `since`, the monotonic moment at which
        the refused call began: ten calls that are refused together read it once.
        """
        with self._lock:
            if self._token == refused and self._read_at <= since:
                self._read()
            return self._token if self._token != refused else None

    def version(self, *, fresh: bool) -> str | None:
        """Changes when the secret does; a malformed secret has a version too. Read anew where `fresh`.

        None where Secrets Manager does not answer.
        """
        with self._lock:
            if fresh:
                with suppress(HelpdeskError):
                    self._read()
            return self._version

    def _read(self) -> str:
        # Taken before the call, so that a secret changed during it counts as not yet seen.
        asked_at = time.monotonic()
        try:
            secret = self._client.get_secret_value(SecretId=self._secret_arn)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise UnavailableError("secret_unreadable", f"Secrets Manager refused: {code}") from error
        except BotoCoreError as error:
            raise UnavailableError("secret_unreadable", "Secrets Manager does not answer") from error
        self._version = secret["VersionId"]
        self._token = _token_in(secret.get("SecretString", ""))
        self._read_at = asked_at
        return self._token


def _token_in(text: str) -> str:
    token: object = text.strip()
    if text.lstrip().startswith("{"):
        try:
            token = json.loads(text).get("token")
        except ValueError:
            token = None
    # It goes into a header: a blank line or a letter beyond ASCII would break the call itself.
    if not isinstance(token, str) or not re.fullmatch(r"[\x20-\x7e]+", token.strip()):
        raise UnauthorizedError("secret_malformed", 'the secret holds neither {"token": "..."} nor a token')
    return token.strip()
