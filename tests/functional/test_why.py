"""Why a request did not become a ticket: its receipt, its parked copy and its story all say so."""

import json

import pytest
from botocore.exceptions import EndpointConnectionError

from bridge.operating import words
from bridge.operating.operations import Operations
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import Deployment

WRONG = {"request_id": "wrong", "operation": "add", "source": "shop", "ticket": {"due_date": "tomorrow"}}
ADD = {"request_id": "order-1", "operation": "add", "ticket": {"title": "Broken kettle"}}


def test_a_wrong_message_names_each_field_wherever_it_is_looked_for(
    deployment: Deployment, operations: Operations
) -> None:
    deployment.send(WRONG)
    deployment.consume()

    receipt = deployment.call("GET", "/requests/wrong").body
    (copy,) = operations.parked().copies
    story = operations.trace("wrong")

    title, due = {"field": "ticket.title", "problem": "is missing"}, "ticket.due_date"
    assert (receipt["state"], receipt["code"]) == ("rejected", "invalid_request")
    assert (receipt["source"], receipt["errors"][0]) == ("shop", title)
    assert [error["field"] for error in receipt["errors"]] == ["ticket.title", due]
    assert copy.why[:2] == ["the request is invalid", "ticket.title: is missing"]
    assert story.stands == "rejected (invalid_request: the request is invalid)"
    assert [error.field for error in story.errors] == ["ticket.title", due]
    assert story.steps[-1].text == "Ticket Bridge rejected it (invalid_request)."
    assert "tomorrow" not in json.dumps([receipt, copy.attributes, story.stands])


def test_what_the_helpdesks_own_check_refuses_has_a_receipt_too(deployment: Deployment) -> None:
    update = {"operation": "update", "request_id": "u", "ticket_id": "1", "changes": {"comment": "c"}}
    deployment.send(update)
    deployment.consume()

    receipt = deployment.call("GET", "/requests/u").body

    assert (receipt["state"], receipt["operation"]) == ("rejected", "update")
    assert [error["field"] for error in receipt["errors"]] == ["changes.sub_status"]


def test_a_corrected_message_of_the_same_id_is_carried_out(deployment: Deployment) -> None:
    deployment.send(WRONG)
    deployment.consume()
    deployment.send({**WRONG, "ticket": {"title": "Broken kettle"}})
    deployment.consume()

    receipt = deployment.call("GET", "/requests/wrong").body

    assert (receipt["state"], receipt.get("errors")) == ("succeeded", None)


def test_a_wrong_message_does_not_hide_what_became_of_an_earlier_request(deployment: Deployment) -> None:
    deployment.send({**WRONG, "ticket": {"title": "Broken kettle"}})
    deployment.consume()
    deployment.send(WRONG)
    deployment.consume()

    assert deployment.call("GET", "/requests/wrong").body["state"] == "succeeded"


def test_the_helpdesks_own_words_are_kept_without_those_of_the_request(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    body = json.dumps({"message": "queue of Broken kettle is closed", "status": "failed"})
    kapture.faults.add(FaultRule(operation="add", fault=Fault(status=400, body=body)))
    deployment.send(ADD)
    deployment.consume()

    (copy,) = operations.parked().copies

    assert copy.why == ["queue of … … is closed"]
    assert "queue of … … is closed" in operations.trace("order-1").stands
    assert operations.trace("order-1").steps[-1].text == "Kapture refused it (refused_by_helpdesk)."


def test_a_great_many_wrong_fields_still_leave_a_copy(deployment: Deployment, operations: Operations) -> None:
    deployment.send({**ADD, "ticket": {"title": "t", **{f"{'é' * 150}{number}": 1 for number in range(60)}}})
    deployment.consume()

    (copy,) = operations.parked().copies

    assert copy.why[0] == "the request is invalid"
    assert 2 < len(copy.why) < 50


def test_the_answer_about_an_unknown_id_says_what_is_not_known(deployment: Deployment) -> None:
    deployment.call("POST", "/tickets", {"request_id": "waits", "ticket": {"title": "Broken kettle"}})

    detail = deployment.call("GET", "/requests/waits").body["detail"]

    assert "accepted and has not been taken up yet" in detail


def test_a_lost_answer_is_told_with_what_may_have_happened(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    kapture.faults.add(FaultRule(operation="add", fault=Fault(status=503, body="")))
    deployment.send(ADD)
    deployment.consume()

    story = operations.trace("order-1")

    assert story.stands.startswith("in doubt: the ticket may or may not exist")
    assert [step.text for step in story.steps] == [
        "The call to Kapture began.",
        "Kapture answered 503: the ticket may or may not exist.",
    ]


def test_an_update_that_waits_for_its_add_is_not_said_to_have_been_called(
    deployment: Deployment, operations: Operations
) -> None:
    update = {"operation": "update", "request_id": "u", "source": "shop", "reference": "o-17"}
    deployment.send({**update, "changes": {"sub_status": "PS"}})
    for _ in range(3):
        deployment.consume()
        deployment.show_all()

    (step,) = operations.trace("u").steps

    assert step.text.startswith(
        "Nothing was done. It waits because no ticket has its reference yet (3 times, "
    )


def test_words_of_a_lost_call_stand_in_a_sentence_and_at_its_beginning() -> None:
    said = words.step("released connection_lost", "kapture", "get", "")

    assert said == "Nothing was done. It waits because the connection broke before Kapture answered."
    assert words.lost("connection_lost", "kapture", "add").startswith("The connection broke before Kapture")


def test_requests_in_a_queue_of_several_helpdesks_are_not_all_said_to_wait_for_this_one() -> None:
    paused, down = (words.Outage("kapture", reason, 0.0, 0.0) for reason in (words.PAUSED, "outage"))

    assert paused.sentence(6) == "Kapture is paused. 6 requests wait until it is resumed."
    shared = " In the queue of all helpdesks: 6."
    assert (
        paused.sentence(6, is_only=False)
        == f"Kapture is paused. Its requests wait until it is resumed.{shared}"
    )
    assert down.sentence(6, is_only=False).endswith(
        f" Its requests wait; nothing to do: its next try is due.{shared}"
    )
    assert paused.sentence(0, is_only=False) == "Kapture is paused. New requests wait until it is resumed."


def test_a_request_that_waits_says_for_what(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    kapture.faults.add(FaultRule(fault=Fault(status=429, body="", headers={"Retry-After": "100"})))
    deployment.send(ADD)
    deployment.consume()

    (outage,) = operations.outages()

    until = words.near_time(outage.next_try_at)
    assert outage.sentence(5) == f"Kapture asked us to wait until {until}. 5 requests wait; nothing to do."
    assert (
        operations.trace("order-1").stands
        == "accepted; waits because Kapture is closed (it asked us to wait)"
    )
    assert operations.trace("order-1").steps[-1].text == (
        "Nothing was done. It waits because Kapture answered 429 (too many calls)."
    )


@pytest.mark.parametrize(
    ("seen", "then"),
    [
        (True, "made again after 15 minutes without it."),
        (False, "parked for a person after 15 minutes without it, because Kapture shows no markers."),
    ],
)
def test_a_search_says_what_follows_it(seen: bool, then: str) -> None:
    line = {"operation": "add", "settled": "waiting", "searched": True, "settle_after_s": 900.0}

    assert words.searched(line, "kapture", markers_seen=seen) == f"Searched: not there yet; {then}"


def test_a_receipt_that_cannot_be_written_hides_no_other(deployment: Deployment) -> None:
    refusals = iter([True])

    def refuses(**_: object) -> None:
        if next(refusals, False):
            raise EndpointConnectionError(endpoint_url="https://aws.invalid")

    events = deployment.parts.clients.dynamodb.meta.events
    events.register("before-call.dynamodb.PutItem", refuses)
    for name in ("first", "second"):
        deployment.send({**WRONG, "request_id": name})
    deployment.consume()
    events.unregister("before-call.dynamodb.PutItem", refuses)

    states = {deployment.call("GET", f"/requests/{name}").body.get("state") for name in ("first", "second")}
    assert states == {None, "rejected"}
    assert len(deployment.outcomes()) == 2
