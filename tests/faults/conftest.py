"""The true handlers, a helpdesk on loopback, and AWS: mocked in the process, or on loopback as well."""

from collections.abc import Iterator
from functools import cache

import botocore.session
import pytest
from botocore.loaders import create_loader
from moto import mock_aws

from bridge.simulators.kapture import KaptureSimulator
from bridge.simulators.server import running
from tests.deployment import Clock, Deployment
from tests.faults.aws import AwsOnLoopback
from tests.faults.scene import TOKEN, Scene

# What the layer waits for by itself passes on the scene's clock.
_VARIABLES = {"CONNECT_TIMEOUT_S": "0.5", "SETTLE_AFTER_S": "0"}


@pytest.fixture(scope="session", autouse=True)
def _models_read_once() -> Iterator[None]:
    # Each new session would parse the models of all four services again, for every test.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(create_loader))
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kapture(clock: Clock) -> KaptureSimulator:
    return KaptureSimulator(token=TOKEN, clock=clock)


@pytest.fixture
def kapture_url(kapture: KaptureSimulator) -> Iterator[str]:
    with running(kapture.app()) as url:
        yield url


@pytest.fixture
def scene(
    monkeypatch: pytest.MonkeyPatch, kapture: KaptureSimulator, kapture_url: str, clock: Clock
) -> Iterator[Scene]:
    """On mocked AWS."""
    with mock_aws():
        deployment = Deployment(monkeypatch, kapture_url, TOKEN, clock=clock, **_VARIABLES)
        yield Scene(deployment, kapture, kapture_url, clock)


@pytest.fixture(scope="session")
def _aws_server() -> Iterator[AwsOnLoopback]:
    with AwsOnLoopback().running() as aws:
        yield aws


@pytest.fixture
def aws(_aws_server: AwsOnLoopback, monkeypatch: pytest.MonkeyPatch) -> AwsOnLoopback:
    """An empty account, at which every client made from now on ends."""
    _aws_server.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", _aws_server.url)
    return _aws_server


@pytest.fixture
def wired(
    aws: AwsOnLoopback,
    monkeypatch: pytest.MonkeyPatch,
    kapture: KaptureSimulator,
    kapture_url: str,
    clock: Clock,
) -> Scene:
    """On AWS over the wire."""
    deployment = Deployment(monkeypatch, kapture_url, TOKEN, clock=clock, **_VARIABLES)
    return Scene(deployment, kapture, kapture_url, clock)
