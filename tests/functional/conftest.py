"""The true handlers on mocked AWS, against a simulated helpdesk on loopback."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from bridge.simulators.kapture import KaptureSimulator
from bridge.simulators.server import running
from tests.deployment import Deployment

TOKEN = "functional-test-token"


@pytest.fixture
def kapture() -> KaptureSimulator:
    return KaptureSimulator(token=TOKEN)


@pytest.fixture
def kapture_url(kapture: KaptureSimulator) -> Iterator[str]:
    with running(kapture.app()) as url:
        yield url


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, kapture_url: str) -> Iterator[Deployment]:
    with mock_aws():
        yield Deployment(monkeypatch, kapture_url, TOKEN)
