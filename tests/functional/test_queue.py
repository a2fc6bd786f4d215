"""The queue's consumer, through the true handler."""

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture import KaptureSimulator
from tests.deployment import Deployment


def test_a_mixed_batch_ends_as_each_of_its_records_deserves(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(
        FaultRule(
            operation="add", match="busy", times=1, fault=Fault(status=429, headers={"Retry-After": "7"})
        ),
        FaultRule(
            operation="add",
            match="refused",
            fault=Fault(status=200, body='{"message":"no such queue","status":"failed"}'),
        ),
    )
    good = [
        {"operation": "add", "request_id": f"good-{n}", "ticket": {"title": f"good {n}"}} for n in range(6)
    ]
    deployment.send(
        *good,
        "{not json",
        {"operation": "add", "request_id": "untitled", "ticket": {"details": "no title"}},
        {"operation": "add", "request_id": "busy", "ticket": {"title": "busy"}},
        {"operation": "add", "request_id": "refused", "ticket": {"title": "refused"}},
    )

    returned = deployment.consume()

    assert len(returned) == 1
    outcomes = deployment.outcomes()
    added = [event["data"]["request_id"] for event in outcomes if event["type"] == "ticket.added"]
    assert sorted(added) == [f"good-{n}" for n in range(6)]
    rejected = {
        event["data"]["code"]: event["data"] for event in outcomes if event["type"] == "ticket.rejected"
    }
    assert rejected["not_json"]["errors"][0]["field"] == "body"
    assert rejected["invalid_request"]["errors"] == [{"field": "ticket.title", "problem": "is missing"}]
    assert rejected["refused_by_helpdesk"]["message"] == "no such queue"
    assert len(outcomes) == 9
    assert sorted(letter["code"] for letter in deployment.dead_letters()) == [
        "invalid_request",
        "not_json",
        "refused_by_helpdesk",
    ]
    assert sorted(ticket.title for ticket in kapture.tickets) == [f"good {n}" for n in range(6)]
