"""The true handlers on mocked AWS, against a simulated helpdesk on loopback."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
import trustme
from moto import mock_aws

import certificates
from bridge.operating.operations import Operations
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.simulators.server import running
from helpdesk.clients.tls import tls_context
from helpdesk.runtime import invocation
from tests.deployment import Deployment, operations_on

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


@pytest.fixture
def operations(deployment: Deployment) -> Operations:
    return operations_on(deployment)


@pytest.fixture(params=["bundle", "folder"])
def trusted(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[trustme.CA]:
    """The only authority that we trust: in a bundle as in development, in a folder as in the layer."""
    authority = trustme.CA()
    bundle = tmp_path / "cacert.pem"
    authority.cert_pem.write_to_path(str(bundle))
    if request.param == "folder":
        certificates.main(bundle, tmp_path / "hashed")
        bundle.unlink()
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    tls_context.cache_clear()
    yield authority
    tls_context.cache_clear()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every line that the functions log, as Lambda would write it."""
    stream = io.StringIO()
    handler = invocation.logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    usual = handler.setStream(stream)
    yield stream
    handler.setStream(usual)
