"""The true handlers, a helpdesk on loopback, and AWS: mocked in the process, or on loopback as well."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from bridge.simulators.server import running
from tests.accounts import ACCOUNTS, Account, deployed
from tests.deployment import Clock
from tests.faults.aws import AwsOnLoopback
from tests.faults.scene import Scene

# What the layer waits for by itself passes on the scene's clock.
_VARIABLES = {"SETTLE_AFTER_S": "0"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(request: pytest.FixtureRequest, clock: Clock) -> Account:
    """The one that a test asks for; else the first, for all fail alike in what AWS and producers do."""
    made: Account = getattr(request, "param", ACCOUNTS[0])(clock)
    return made


@pytest.fixture
def helpdesk_url(account: Account) -> Iterator[str]:
    with running(account.simulator.app()) as url:
        yield url


@pytest.fixture
def scene(
    monkeypatch: pytest.MonkeyPatch, account: Account, helpdesk_url: str, clock: Clock
) -> Iterator[Scene]:
    """On mocked AWS."""
    with mock_aws():
        deployment = deployed(monkeypatch, account, helpdesk_url, clock, **_VARIABLES)
        yield Scene(deployment, account, helpdesk_url, clock)


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
    aws: AwsOnLoopback, monkeypatch: pytest.MonkeyPatch, account: Account, helpdesk_url: str, clock: Clock
) -> Scene:
    """On AWS over the wire."""
    deployment = deployed(monkeypatch, account, helpdesk_url, clock, **_VARIABLES)
    return Scene(deployment, account, helpdesk_url, clock)
