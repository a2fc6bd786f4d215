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
# No test waits for so long, unless it fails.
LONG_S = 60

_now = time.monotonic


class _Clock:
    """Tells how often it was read: whoever asks for a token reads it first."""

    def __init__(self) -> None:
        self.reads = threading.Semaphore(0)

    def __call__(self) -> float:
        now = _now()
        self.reads.release()
        return now


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
        assert self.may_end.wait(LONG_S)
        return self._answer()


class _Secrets:
    def __init__(self, get: Callable[..., Any]) -> None:
        self.get_secret_value = get


def unreachable() -> Any:
    raise EndpointConnectionError(endpoint_url="https://secretsmanager.example")


def refused() -> Any:
    raise UnavailableError("connect_refused", "no connection to the helpdesk")


def secret_of[T](get: Callable[..., Any], parse: Callable[[str], T], clock: Callable[[], float]) -> Secret[T]:
    client: Any = _Secrets(get)
    return Secret(client, "arn", parse, clock=clock)


def results_of_late_calls[T](slow: _Slow, clock: _Clock, call: Callable[[], T]) -> list[T]:
    """What several calls end with that begin while the first is still waiting."""
    with ThreadPoolExecutor(1 + LATECOMERS) as pool:
        calls = [pool.submit(call)]
        assert slow.called.wait(LONG_S)
        while clock.reads.acquire(blocking=False):
            pass
        calls += [pool.submit(call) for _ in range(LATECOMERS)]
        for _ in range(LATECOMERS):
            assert clock.reads.acquire(timeout=LONG_S)
        slow.may_end.set()
        return [call.result() for call in calls]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(HelpdeskError) as caught:
        call()
    return caught.value.code


def test_a_secret_that_cannot_be_read_is_asked_for_once_by_all_who_wait() -> None:
    slow, clock = _Slow(unreachable), _Clock()
    secret = secret_of(slow, kapture_keys_in, clock)

    codes = results_of_late_calls(slow, clock, lambda: code_of(secret.current))
    assert codes == ["secret_unreadable"] * (1 + LATECOMERS)
    assert slow.calls == 1

    with pytest.raises(UnavailableError):
        secret.current()
    assert slow.calls == 2


def test_a_version_that_cannot_be_read_is_asked_for_once_by_all_who_wait() -> None:
    slow, clock = _Slow(unreachable), _Clock()
    secret = secret_of(slow, kapture_keys_in, clock)

    versions = results_of_late_calls(slow, clock, lambda: secret.version(fresh=True))
    assert versions == [None] * (1 + LATECOMERS)
    assert slow.calls == 1


def test_an_access_token_that_cannot_be_minted_is_asked_for_once_by_all_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, clock = _Slow(refused), _Clock()
    text = '{"refresh_token": "r", "client_id": "c"}'
    secret: Secret[RefreshCredentials] = secret_of(
        lambda **_: {"VersionId": "1", "SecretString": text}, refresh_credentials_in, _now
    )
    minted = MintedToken(secret, slow, lambda: None)
    monkeypatch.setattr(time, "monotonic", clock)

    codes = results_of_late_calls(slow, clock, lambda: code_of(lambda: minted.current(_now() + LONG_S)))
    assert codes == ["connect_refused"] * (1 + LATECOMERS)
    assert slow.calls == 1

    assert code_of(lambda: minted.current(_now() + LONG_S)) == "connect_refused"
    assert slow.calls == 2
