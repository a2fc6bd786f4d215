"""The queue's consumer, through the true handler."""

import threading

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from tests.deployment import Deployment
from tests.functional.scripted import Reply, scripted

_STRUCTURED = {"content-type": "application/cloudevents+json"}


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
        {"operation": "add", "request_id": "refused", "ticket": {"title": "refused"}},
        {"operation": "add", "request_id": "busy", "ticket": {"title": "busy"}},
    )
    # One after the other, the last of which would hold back any that came later.
    deployment.set(THREADS="1")

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


def test_ten_adds_of_a_batch_are_under_way_at_the_same_time(deployment: Deployment) -> None:
    # Answered only when all ten have come: one after the other they would wait in vain.
    together = threading.Barrier(10)
    added = Reply(body={"status": "success", "ticket_id": "1"}, together=together)
    with scripted(*[added] * 10) as helpdesk:
        deployment.set(KAPTURE_URL=helpdesk.url)
        deployment.send(*({"operation": "add", "ticket": {"title": f"{n}"}} for n in range(10)))

        assert deployment.consume() == []

    assert [event["type"] for event in deployment.outcomes()] == ["ticket.added"] * 10


def test_gets_of_a_batch_become_one_call_and_an_outcome_each(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    deployment.send(*({"operation": "add", "ticket": {"title": f"{n}"}} for n in range(3)))
    deployment.consume()
    deployment.outcomes()
    ids = [ticket.ticket_id for ticket in kapture.tickets]
    deployment.send(
        {"operation": "get", "request_id": "first", "ticket_ids": [ids[0]]},
        {"operation": "get", "request_id": "two", "ticket_ids": ids[1:]},
        {"operation": "get", "request_id": "partly", "ticket_ids": [ids[0], "404"]},
    )

    deployment.consume()

    assert len([call for call in kapture.calls if call.operation == "get"]) == 1
    outcomes = {event["data"]["request_id"]: event["data"] for event in deployment.outcomes()}
    assert outcomes["first"]["ticket"]["ticket_id"] == ids[0]
    assert [ticket["ticket_id"] for ticket in outcomes["two"]["tickets"]] == ids[1:]
    assert outcomes["partly"]["missing"] == ["404"]


NOT_SHOWN = Fault(body='{"message":"No Data found","status":"failed"}')


@pytest.mark.parametrize("bad", [[4], [0, 1, 2]], ids=["one", "the first"])
def test_a_get_with_bad_ids_shows_the_others(
    deployment: Deployment, kapture: KaptureSimulator, bad: list[int]
) -> None:
    ids = _made(deployment, kapture, 9)
    for place in bad:
        kapture.faults.add(FaultRule(operation="get", match=ids[place], fault=NOT_SHOWN))

    answer = deployment.call("GET", f"/tickets/{','.join(ids)}")
    deployment.send({"operation": "get", "request_id": "all", "ticket_ids": ids})
    deployment.consume()

    [event] = deployment.outcomes()
    for shown in (answer.body, event["data"]):
        assert shown["missing"] == [ids[place] for place in bad]
        good = [ticket_id for ticket_id in ids if ticket_id not in shown["missing"]]
        assert [ticket["ticket_id"] for ticket in shown["tickets"]] == good


def test_an_account_that_shows_few_tickets_at_once_is_asked_in_parts(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    ids = _made(deployment, kapture, 8)
    kapture.switches = KaptureSwitches(get_most_ids=2)

    assert len(deployment.call("GET", f"/tickets/{','.join(ids)}").body["tickets"]) == 8
    assert _gets(kapture) == 1 + 2 + 4


def test_a_refused_get_takes_few_calls_more_and_keeps_the_refusal(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(operation="get", fault=NOT_SHOWN))
    deployment.send(
        *(
            {"operation": "get", "request_id": f"{n}", "ticket_ids": [f"{n}{last}" for last in range(9)]}
            for n in range(9)
        )
    )
    deployment.consume()

    outcomes = [event["data"] for event in deployment.outcomes()]
    assert [(each["code"], each["message"]) for each in outcomes] == [
        ("refused_by_helpdesk", "No Data found")
    ] * 9
    # Two for all together, one for each request, and twenty in parts.
    assert _gets(kapture) <= 2 + 9 + 20


def test_the_parts_of_a_get_are_drawn_from_the_budget(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    ids = _made(deployment, kapture, 8)
    kapture.switches = KaptureSwitches(get_most_ids=2)
    deployment.set(KAPTURE_BUDGET="3", KAPTURE_BUDGET_PERIOD_S="3600")

    answer = deployment.call("GET", f"/tickets/{','.join(ids)}")

    assert (answer.status, answer.body["code"]) == (422, "refused_by_helpdesk")
    assert _gets(kapture) == 3


def _made(deployment: Deployment, kapture: KaptureSimulator, many: int) -> list[str]:
    """The ids of so many tickets."""
    deployment.send(*({"operation": "add", "ticket": {"title": f"{n}"}} for n in range(many)))
    deployment.consume()
    deployment.outcomes()
    return [ticket.ticket_id for ticket in kapture.tickets]


def _gets(kapture: KaptureSimulator) -> int:
    return [call.operation for call in kapture.calls].count("get")


def test_filter_policies_select_by_operation_and_outcome(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    rejected = deployment.subscribe("rejected", {"outcome": ["rejected"]})
    gets = deployment.subscribe("gets", {"operation": ["get"], "outcome": ["succeeded"]})
    deployment.send(
        {"operation": "add", "request_id": "good", "ticket": {"title": "t"}},
        {"operation": "add", "request_id": "bad", "ticket": {}},
    )
    deployment.consume()
    deployment.send({"operation": "get", "request_id": "got", "ticket_ids": [kapture.tickets[0].ticket_id]})
    deployment.consume()

    def ids_in(queue_url: str) -> list[str]:
        events = [
            from_http_event(HTTPMessage(_STRUCTURED, message["Body"].encode()))
            for message in deployment.drain(queue_url)
        ]
        contents = [event.get_data() for event in events]
        return [content["request_id"] for content in contents if isinstance(content, dict)]

    assert ids_in(rejected) == ["bad"]
    assert ids_in(gets) == ["got"]
