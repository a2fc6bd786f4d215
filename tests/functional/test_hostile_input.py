"""What anybody may send, nested, made to keep a pattern busy, or packed small, is refused at once."""

import base64
import gzip
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from moto import mock_aws

from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.clients.transport import MAX_BODY_BYTES, Transport
from helpdesk.errors import OutcomeUnknownError, RejectedError
from helpdesk.http.forms.services import read_submission
from helpdesk.intake.bodies import URLENCODED, read_fields
from tests.deployment import Deployment
from tests.functional.scripted import Reply, scripted
from tests.waiting import LONG_S

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-these-tests"
# Some fit for the parser and not for what comes after it.
DEPTHS = [50, 300, 900, 1500, 5000, 100_000]
PLAIN = """\
service: json
verify: {scheme: tally}
limit: {rate: 1000, burst: 1000}
request:
  operation: add
  request_id: answers.id
  ticket: {title: answers.title, details: answers.deep, extra: {deep: answers.deep}}
"""


def lists(depth: int) -> str:
    return "[" * depth + "]" * depth


def objects(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def add_with(deep: str) -> str:
    return f'{{"operation": "add", "ticket": {{"title": "deep", "extra": {{"deep": {deep}}}}}}}'


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, kapture_url: str, tmp_path: Path) -> Iterator[Deployment]:
    """The shipped forms and a plain one, and Kapture's callbacks."""
    folder = tmp_path / "forms"
    shutil.copytree(ROOT / "examples" / "forms", folder)
    (folder / "plain.yaml").write_text(PLAIN)
    with mock_aws():
        deployed = Deployment(monkeypatch, kapture_url, "functional-test-token")
        deployed.put_callback_secret("kapture", SECRET)
        deployed.deploy_forms(folder, tmp_path / "forms.json")
        for name in deployed.forms:
            deployed.put_form_secret(name, SECRET)
        yield deployed


ENVELOPES: dict[str, Callable[[str], str]] = {
    "bare": lambda text: text,
    "alone": lambda text: text[
        len('{"operation": "add", "ticket": {"title": "deep", "extra": {"deep": ') : -3
    ],
    "SNS": lambda text: json.dumps({"Type": "Notification", "MessageId": "m", "Message": text}),
    "bus": lambda text: json.dumps({"detail-type": "Ticket Requested", "id": "e", "detail": text}),
    "CloudEvent": lambda text: json.dumps({"specversion": "1.0", "id": "c", "source": "s", "data": text}),
    "base64": lambda text: json.dumps(
        {
            "specversion": "1.0",
            "id": "c",
            "source": "s",
            "data_base64": base64.b64encode(text.encode()).decode(),
        }
    ),
    "Kapture's own": lambda text: f"[{text}]",
}


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("nest", [lists, objects])
def test_a_nested_message_ends_in_one_outcome_and_takes_no_other_with_it(
    deployment: Deployment, envelope: str, nest: Any
) -> None:
    for depth in DEPTHS:
        deployment.send(ENVELOPES[envelope](add_with(nest(depth))))
        deployment.send({"operation": "add", "ticket": {"title": "beside"}})

        assert deployment.consume() == [], f"{depth} levels come back"

        types = sorted(event["type"] for event in deployment.outcomes())
        assert types in (["ticket.added", "ticket.rejected"], ["ticket.added", "ticket.added"]), depth


@pytest.mark.parametrize("nest", [lists, objects])
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_nested_body_is_taken_or_refused_by_the_api(deployment: Deployment, nest: Any, depth: int) -> None:
    for body in (add_with(nest(depth)), nest(depth), f"[{add_with(nest(depth))}]"):
        for method, path in (("POST", "/tickets"), ("PATCH", "/tickets/5")):
            answer = deployment.call(method, path, body)
            assert answer.status in (202, 400, 422)
    assert deployment.consume() == []


@pytest.mark.parametrize("nest", [lists, objects])
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_nested_submission_or_callback_is_taken_or_refused(
    deployment: Deployment, nest: Any, depth: int
) -> None:
    deep = f'{{"id": "d", "title": "deep", "deep": {nest(depth)}}}'
    for form in sorted(deployment.forms):
        for body in (deep, nest(depth)):
            assert deployment.form(form, body, secret=SECRET).status in (200, 202, 303, 400, 415, 422), form
    for body in (deep, nest(depth), f'{{"ticket": {nest(depth)}, "ticket_id": "0"}}'):
        headers = {"X-Callback-Secret": SECRET}
        assert deployment.callback("kapture", body, headers=headers).status in (200, 400, 422)
    assert deployment.consume() == []


HOSTILE = [
    "a",
    '"',
    "\\",
    '\\"',
    ";",
    "; name=",
    ';name="\\"',
    " ",
    "\t",
    "1",
    "log",
    "q1_",
    "\\ud8",
    "%",
    "&",
    "[]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_keeps_a_pattern_busy(text: str) -> None:
    """A pattern that goes back and forth would need hours for these."""
    raw = (text * (900_000 // len(text))).encode()
    multipart = b'--b\r\nContent-Disposition: form-data; name="' + raw + b"\r\n\r\nx\r\n--b--"
    for content_type, body in (
        ("multipart/form-data; boundary=b", multipart),
        ("multipart/form-data; boundary=b", raw),
        (f"multipart/form-data; boundary={text * 5000}", b"x"),
        ("application/x-www-form-urlencoded", raw),
    ):
        with suppress(RejectedError):
            read_fields(content_type, body)
    jotform = urlencode({"rawRequest": json.dumps({text * 100_000: text * 100_000})})
    with suppress(RejectedError):
        read_submission("jotform", URLENCODED, jotform.encode())


def test_an_answer_that_is_packed_small_is_not_unpacked_without_end(kapture: KaptureSimulator) -> None:
    bomb = gzip.compress(b"\0" * (MAX_BODY_BYTES * 4))
    assert len(bomb) < 1_000_000
    with scripted(Reply(200, bomb, {"Content-Encoding": "gzip"})) as server:
        transport = Transport(server.url, connect_timeout_s=LONG_S, read_timeout_s=LONG_S, connections=1)
        with pytest.raises(OutcomeUnknownError) as caught:
            transport.send("GET", "/", b"", {}, time.monotonic() + LONG_S)

    assert caught.value.code == "body_too_large"
