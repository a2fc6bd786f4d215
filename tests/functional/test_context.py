"""A sender's own data come back with every outcome of the request, and are kept nowhere."""

import json
from typing import Any

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.models import MAX_CONTEXT_BYTES
from tests.deployment import Clock, Deployment
from tests.functional.conftest import TOKEN

CONTEXT = {"basket": " 17 ", "none": None, "lines": [1, {"é": 2.5}]}
ADD: dict[str, Any] = {
    "operation": "add",
    "request_id": "a",
    "ticket": {"title": "Parcel"},
    "context": CONTEXT,
}


def _contexts(deployment: Deployment) -> list[tuple[str, Any]]:
    deployment.consume()
    return [(event["data"]["outcome"], event["data"].get("context")) for event in deployment.outcomes()]


def test_the_context_comes_back_with_each_kind_of_end(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    refusal = Fault(status=400, body='{"message": "no such queue", "status": "failed"}')
    kapture.faults.add(FaultRule(operation="add", match="refused", fault=refusal))
    deployment.send(ADD)
    assert _contexts(deployment) == [("succeeded", CONTEXT)]
    ticket_id = kapture.tickets[0].ticket_id

    # From the ledger, where the request comes again; and where another request uses its id.
    deployment.send({**ADD, "context": {"again": True}})
    assert _contexts(deployment) == [("succeeded", {"again": True})]
    deployment.send({**ADD, "ticket": {"title": "Another"}})
    assert _contexts(deployment) == [("rejected", CONTEXT)]
    # A get; a refusal; and a request that is wrong elsewhere.
    deployment.send({"operation": "get", "ticket_ids": [ticket_id], "context": CONTEXT})
    assert _contexts(deployment) == [("succeeded", CONTEXT)]
    deployment.send({**ADD, "request_id": "b", "ticket": {"title": "Parcel", "queue": "refused"}})
    assert _contexts(deployment) == [("rejected", CONTEXT)]
    deployment.send({**ADD, "request_id": "c", "ticket": {}})
    assert _contexts(deployment) == [("rejected", CONTEXT)]
    # Without one there is none.
    deployment.send({"operation": "get", "ticket_ids": [ticket_id]})
    assert _contexts(deployment) == [("succeeded", None)]
    assert "basket" not in json.dumps(deployment.dynamodb.scan(TableName="ledger")["Items"])
    assert all(b"basket" not in call.body for call in kapture.calls)


def test_the_context_comes_back_with_a_doubt_with_its_end_and_with_what_is_given_up(
    monkeypatch: pytest.MonkeyPatch, kapture: KaptureSimulator, kapture_url: str
) -> None:
    clock = Clock()
    with mock_aws():
        deployment = Deployment(monkeypatch, kapture_url, TOKEN, clock=clock)
        kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
        deployment.send(ADD)
        assert _contexts(deployment) == [("unknown", CONTEXT)]
        clock.let_pass(80)
        deployment.resolve_doubts()
        deployment.show_all()
        assert _contexts(deployment) == [("succeeded", CONTEXT)]

        deployment.parts.helpdesks.gate("kapture").pause()
        deployment.send({**ADD, "request_id": "b"})
        assert _contexts(deployment) == []
        clock.let_pass(80 * 3600)
        deployment.show_all()
        assert _contexts(deployment) == [("parked", CONTEXT)]


def test_the_answer_of_the_api_has_the_context_where_it_holds_the_outcome(deployment: Deployment) -> None:
    deployment.send(ADD)
    deployment.consume()

    answer = deployment.call("POST", "/tickets", ADD, headers={"Prefer": "wait=1"})

    assert (answer.status, answer.body["context"]) == (201, CONTEXT)


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        ({"a": "é" * (MAX_CONTEXT_BYTES // 2 - 3)}, f"must be at most {MAX_CONTEXT_BYTES} bytes of JSON"),
        (["basket"], "must be an object of JSON"),
        ({"a": json.loads("[" * 40 + "]" * 40)}, "is nested too deeply"),
        ({"a": json.loads("[" * 900 + "]" * 900)}, "must be an object of JSON"),
        ({"a": "\ud800"}, "holds what is no Unicode text"),
    ],
    ids=["large", "list", "deep", "very_deep", "no_text"],
)
def test_a_context_that_cannot_be_taken_is_named(deployment: Deployment, context: Any, problem: str) -> None:
    answer = deployment.call("POST", "/tickets", {"ticket": {"title": "Parcel"}, "context": context})

    assert answer.status == 422
    assert answer.body["errors"] == [{"field": "context", "problem": problem}]
