"""A token that cannot be had: asked for once by all who wait, and again by whoever comes later."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from helpdesk.clients.kapture.client import kapture_keys_in
from helpdesk.clients.secrets import MintedToken, RefreshCredentials, Secret, refresh_credentials_in
from helpdesk.errors import HelpdeskError, UnavailableError

LATECOMERS = 5


class _Slow:
    """Answers when a test says so, and counts the calls."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.calls = 0
        self.called = threading.Event()
        self.may_end = threading.Event()
        self._answer = answer

    def __call__(self, *_: object, **__: object) -> Any:
        self.calls += 1
        self.called.set()
        assert self.may_end.wait(10)
        return self._answer()


class _Secrets:
    def __init__(self, get: Callable[..., Any]) -> None:
        self.get_secret_value = get


def unreachable() -> Any:
    raise EndpointConnectionError(endpoint_url="https://secretsmanager.example")


def refused() -> Any:
    raise UnavailableError("connect_refused", "no connection to the helpdesk")


def secret_of[T](get: Callable[..., Any], parse: Callable[[str], T]) -> Secret[T]:
    client: Any = _Secrets(get)
    return Secret(client, "arn", parse)


def codes_of_late_calls(slow: _Slow, call: Callable[[], object]) -> list[str]:
    """What several calls end with that begin one after the other while the first is still waiting."""

    def code() -> str:
        with pytest.raises(HelpdeskError) as caught:
            call()
        return caught.value.code

    with ThreadPoolExecutor(1 + LATECOMERS) as pool:
        calls = [pool.submit(code)]
        assert slow.called.wait(10)
        for _ in range(LATECOMERS):
            calls.append(pool.submit(code))
            time.sleep(0.01)
        slow.may_end.set()
        return [call.result() for call in calls]


def test_a_secret_that_cannot_be_read_is_asked_for_once_by_all_who_wait() -> None:
    slow = _Slow(unreachable)
    secret = secret_of(slow, kapture_keys_in)

    assert codes_of_late_calls(slow, secret.current) == ["secret_unreadable"] * (1 + LATECOMERS)
    assert slow.calls == 1

    with pytest.raises(UnavailableError):
        secret.current()
    assert slow.calls == 2


def test_a_version_that_cannot_be_read_is_asked_for_once_by_all_who_wait() -> None:
    slow = _Slow(unreachable)
    secret = secret_of(slow, kapture_keys_in)

    with ThreadPoolExecutor(1 + LATECOMERS) as pool:
        first = pool.submit(secret.version, fresh=True)
        assert slow.called.wait(10)
        late = [pool.submit(secret.version, fresh=True) for _ in range(LATECOMERS)]
        time.sleep(0.05)
        slow.may_end.set()

        assert [call.result() for call in (first, *late)] == [None] * (1 + LATECOMERS)
    assert slow.calls == 1


def test_an_access_token_that_cannot_be_minted_is_asked_for_once_by_all_who_wait() -> None:
    slow = _Slow(refused)
    text = '{"refresh_token": "r", "client_id": "c"}'
    secret: Secret[RefreshCredentials] = secret_of(
        lambda **_: {"VersionId": "1", "SecretString": text}, refresh_credentials_in
    )
    minted = MintedToken(secret, slow, lambda: None)

    def current() -> str:
        return minted.current(time.monotonic() + 60)

    assert codes_of_late_calls(slow, current) == ["connect_refused"] * (1 + LATECOMERS)
    assert slow.calls == 1

    with pytest.raises(UnavailableError):
        current()
    assert slow.calls == 2
