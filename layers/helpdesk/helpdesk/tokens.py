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
        self._failure: UnavailableError | UnauthorizedError | None = None

    def current(self) -> str:
        """The token as last read.

        Raises:
            UnavailableError: Secrets Manager does not answer.
            UnauthorizedError: the secret holds no usable token.
        """
        since = time.monotonic()
        with self._lock:
            return self._token or self._read(since)

    def newer(self, refused: str, since: float) -> str | None:
        """Another token than the one just refused, or None.

        The secret is read again unless that already happened after `since`, the monotonic moment at which
        the refused call began: ten calls that are refused together read it once. Raises as `current`.
        """
        with self._lock:
            newest = self._read(since) if self._token == refused else self._token
        return newest if newest != refused else None

    def version(self, *, fresh: bool) -> str | None:
        """Changes when the secret does; a malformed secret has a version too. Read anew where `fresh`.

        None where Secrets Manager does not answer.
        """
        since = time.monotonic()
        with self._lock:
            if fresh:
                with suppress(HelpdeskError):
                    self._read(since)
            return self._version

    def _read(self, since: float) -> str:
        """The secret's token, read again unless another call has read it after `since`.

        A failure is shared as well: ten calls would otherwise wait for Secrets Manager one after the other.
        """
        if self._read_at <= since:
            # Taken before the call, so that a secret changed during it counts as not yet seen.
            self._read_at = time.monotonic()
            self._failure = None
            try:
                self._ask()
            except (UnavailableError, UnauthorizedError) as error:
                self._failure = error
        if self._failure:
            raise type(self._failure)(self._failure.code, self._failure.message) from self._failure
        return self._token or ""

    def _ask(self) -> None:
        try:
            secret = self._client.get_secret_value(SecretId=self._secret_arn)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise UnavailableError("secret_unreadable", f"Secrets Manager refused: {code}") from error
        except BotoCoreError as error:
            raise UnavailableError("secret_unreadable", "Secrets Manager does not answer") from error
        self._version = secret["VersionId"]
        self._token = _token_in(secret.get("SecretString", ""))


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
