"""What `bridge up` starts answers programs of this machine, and no page of another place."""

from __future__ import annotations

import http.client
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from bridge.console.connection import LocalConnection
from bridge.console.guard import Guard
from bridge.console.server import Server
from bridge.console.view import Console
from bridge.local import emulator
from bridge.local.state import StateFolder
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.simulators.server import running
from bridge.simulators.socialboards.account import SocialboardsSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def kapture(_: Path) -> Iterator[str]:
    with running(KaptureSimulator(token="t").app()) as url:
        yield f"{url}/_control/calls"


@contextmanager
def socialboards(_: Path) -> Iterator[str]:
    with running(SocialboardsSimulator(token="t", client_id="c").app()) as url:
        yield f"{url}/_control/calls"


@contextmanager
def console(folder: Path) -> Iterator[str]:
    guard = Guard()
    with running(Server(Console(LocalConnection(StateFolder(folder))), guard).app()) as url:
        yield f"{url}/{guard.key}/"


@contextmanager
def ministack(folder: Path) -> Iterator[str]:
    state = StateFolder(folder)
    try:
        yield emulator.start_ready(state) + "/?Action=ListQueues&Version=2012-11-05"
    finally:
        state.stop_all()


# The address of something at each that a page could want to read.
SERVERS = {made.__name__: made for made in (kapture, socialboards, console, ministack)}


@pytest.fixture(scope="module", params=SERVERS)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as url:
        yield url


def ask(
    address: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; a header's name is written with underscores."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=30)
    sent = {"Host": url.netloc} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"{url.path}?{url.query}", body, sent)
    answer = connection.getresponse()
    received = {name.lower(): value for name, value in answer.getheaders()}
    content = answer.read()
    connection.close()
    return answer.status, received, content


def own(address: str, name: str = "127.0.0.1") -> str:
    return f"{name}:{urlsplit(address).port}"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_programs_of_this_machine_are_answered_by_any_name_of_loopback(address: str, name: str) -> None:
    status, headers, _ = ask(address, Host=own(address, name))

    assert status == 200
    assert not [header for header in headers if header.startswith("access-control-")]


@pytest.mark.parametrize(
    "host",
    ["rebound.example", "rebound.example:{0}", "127.0.0.1.example:{0}", "localhost.example:{0}", "127.0.0.1"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_host_is_refused(address: str, host: str, method: str) -> None:
    status, headers, _ = ask(address, method, Host=host.format(urlsplit(address).port))

    assert status == 403
    assert not [header for header in headers if header.startswith("access-control-")]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_a_call_with_the_origin_of_another_place_is_refused(address: str, origin: str, method: str) -> None:
    status, headers, _ = ask(address, method, Origin=origin)

    assert status == 403
    assert not [header for header in headers if header.startswith("access-control-")]


def test_a_call_of_an_own_page_is_answered(address: str) -> None:
    status, _, _ = ask(address, Origin=f"http://{own(address)}", Sec_Fetch_Site="same-origin")

    assert status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_picture_or_a_link_of_another_page_starts_nothing(address: str, site: str) -> None:
    status, _, _ = ask(address, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors")

    # A link may lead to the console, for the address that it needs holds the key.
    has_key = "/_control/" not in address and "Action=" not in address
    assert status == (200 if has_key else 403)


def test_boto3_goes_on_working_with_the_guarded_emulator(tmp_path: Path) -> None:
    with ministack(tmp_path) as address:
        aws = emulator.Clients(f"http://{own(address)}")
        url = aws.sqs.create_queue(QueueName="kept")["QueueUrl"]
        aws.sqs.send_message(QueueUrl=url, MessageBody="hello")
        aws.s3.create_bucket(Bucket="kept")
        aws.s3.put_object(Bucket="kept", Key="a/b", Body=b"text")

        assert aws.sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "hello"
        assert aws.s3.get_object(Bucket="kept", Key="a/b")["Body"].read() == b"text"
