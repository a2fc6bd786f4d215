"""Neither the token nor customers' texts show anywhere but where they belong."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture import KaptureSimulator
from helpdesk.wiring import invocation
from tests.deployment import Deployment
from tests.functional.conftest import TOKEN

TITLE = "canary-title-parcel"
DETAILS = "canary-details-address"
EMAIL = "canary@example.com"
COMMENT = "canary-comment-phone"
ECHO = "canary-echo-of-the-helpdesk"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every line that the functions log, as Lambda would write it."""
    stream = io.StringIO()
    handler = invocation.logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    usual = handler.setStream(stream)
    yield stream
    handler.setStream(usual)


def test_a_canary_token_and_canary_texts_are_in_no_log_line(
    deployment: Deployment, kapture: KaptureSimulator, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = {"title": TITLE, "details": DETAILS, "requester": {"email": EMAIL, "name": "canary-name"}}
    refusal = json.dumps({"message": f"{ECHO} {TITLE} {TOKEN}", "status": "failed"})
    kapture.faults.add(
        FaultRule(operation="add", match="refused", fault=Fault(status=200, body=refusal)),
        FaultRule(operation="add", match="broken", fault=Fault(status=500, body=f"{ECHO} {TOKEN}")),
        FaultRule(operation="add", match="garbled", fault=Fault(status=200, body=f"{ECHO} {TOKEN}")),
    )
    deployment.send(
        {"operation": "add", "request_id": "kept", "ticket": ticket},
        {"operation": "add", "request_id": "r", "ticket": {**ticket, "queue": "refused"}},
        {"operation": "add", "request_id": "b", "ticket": {**ticket, "queue": "broken"}},
        {"operation": "add", "request_id": "g", "ticket": {**ticket, "queue": "garbled"}},
        {"operation": "add", "request_id": "i", "ticket": {"details": DETAILS, "colour": TITLE}},
        f"{{{TITLE}",
    )
    deployment.consume()
    ticket_id = kapture.tickets[0].ticket_id
    deployment.send(
        {
            "operation": "update",
            "request_id": "u",
            "ticket_id": ticket_id,
            "changes": {"sub_status": "PS", "comment": COMMENT},
        }
    )
    deployment.consume()
    deployment.put_token("canary-wrong-token")
    kapture.token = "another"
    deployment.send({"operation": "add", "request_id": "t", "ticket": ticket})
    deployment.consume()
    deployment.call("POST", "/tickets", {"ticket": {"titel": TITLE}, "request_id": "bad"})
    deployment.call("POST", "/tickets", {"ticket": ticket, "request_id": "good"})
    deployment.call("GET", f"/tickets/{ticket_id}")

    lines = log.getvalue() + capsys.readouterr().out
    assert "request ended" in lines
    assert "request accepted" in lines
    for canary in (TOKEN, "canary-wrong-token", TITLE, DETAILS, EMAIL, "canary-name", COMMENT, ECHO):
        assert canary not in lines

    told = json.dumps(deployment.outcomes())
    assert ECHO in told, "the helpdesk's own message is part of the outcome"
    for secret in (TOKEN, "canary-wrong-token"):
        assert secret not in told
        assert secret not in json.dumps(deployment.dead_letters())

    items = json.dumps(deployment.dynamodb.scan(TableName="ledger")["Items"])
    for canary in (TOKEN, TITLE, DETAILS, EMAIL, COMMENT):
        assert canary not in items
