"""What can be wrong with a request, at the queue and at the API."""

import json
from typing import Any

import pytest

from bridge.simulators.faults import Fault, FaultRule
from tests.faults.scene import Scene, add


def only(*names: str) -> pytest.MarkDecorator:
    """Names the faults that a test stands for."""
    return pytest.mark.parametrize("fault", names)


def _only_event(scene: Scene) -> dict[str, Any]:
    scene.events("")
    [event] = scene.published
    return event


@only("not-json")
def test_what_is_no_json_is_parked_and_its_outcome_says_why(scene: Scene, fault: str) -> None:
    [message_id] = scene.deployment.send("title=no+json")
    scene.until_quiet()

    event = _only_event(scene)
    assert event["data"]["code"] == "not_json"
    assert event["data"]["request_id"] == message_id
    assert scene.parked(message_id) == ["not_json"]
    answer = scene.deployment.call("POST", "/tickets", "title=no+json")
    assert (answer.status, answer.body["code"]) == (400, "not_json")
    assert scene.helpdesk.calls == []


@only("unknown-key")
def test_all_that_is_wrong_is_named_at_once(scene: Scene, fault: str) -> None:
    body = {"request_id": "wrong", "colour": "red", "ticket": {"details": 5, "shape": "round"}}
    scene.deployment.send({"operation": "add", **body})
    scene.until_quiet()

    fields = {"colour", "ticket.title", "ticket.details", "ticket.shape"}
    [event] = scene.events("wrong")
    assert event["type"] == "ticket.rejected"
    assert {error["field"] for error in event["data"]["errors"]} == fields
    assert scene.parked("wrong") == ["invalid_request"]
    answer = scene.deployment.call("POST", "/tickets", body)
    assert answer.status == 422
    assert {error["field"] for error in answer.body["errors"]} == fields
    assert scene.deployment.waiting() == 0
    assert scene.helpdesk.calls == []


def _body_of(size: int, name: str) -> str:
    empty = json.dumps(add(name, ticket={"title": name, "details": ""}))
    return json.dumps(add(name, ticket={"title": name, "details": "x" * (size - len(empty))}))


@only("1-mib-body")
def test_a_body_of_one_mebibyte_is_carried_out_or_clearly_refused(scene: Scene, fault: str) -> None:
    scene.deployment.send(_body_of(1_048_576, "queued"))
    accepted = scene.deployment.call("POST", "/tickets", _body_of(999_000, "posted"))
    assert accepted.status == 202
    refused = scene.deployment.call("POST", "/tickets", _body_of(1_048_576, "too-large"))
    assert (refused.status, refused.body["code"]) == (413, "too_large")
    scene.until_quiet()

    for name in ("queued", "posted"):
        assert scene.types(name) == ["ticket.added"]
        assert len(scene.tickets(name)) == 1


@only("1-mib-body")
def test_a_rejected_body_of_one_mebibyte_is_parked(scene: Scene, fault: str) -> None:
    scene.deployment.send(_body_of(1_048_576, "wrong").replace('"title"', '"tilte"'))
    # The mock counts bodies alone; on AWS a message's attributes count as well.
    scene.deployment.sqs.set_queue_attributes(
        QueueUrl=scene.deployment.dead_letter_queue, Attributes={"MaximumMessageSize": "1048400"}
    )
    scene.until_quiet(rounds=2)

    assert scene.parked("wrong") == ["invalid_request"]


@only("bad-utf-8")
def test_a_body_that_is_no_utf_8_is_refused(scene: Scene, fault: str) -> None:
    answer = scene.deployment.call("POST", "/tickets", b'{"ticket": {"title": "\xff\xfe"}}')

    assert (answer.status, answer.body["code"]) == (400, "not_json")
    assert scene.deployment.waiting() == 0


@only("bad-utf-8")
def test_half_a_character_in_the_queue_is_rejected(scene: Scene, fault: str) -> None:
    scene.deployment.send('{"operation": "add", "request_id": "half", "ticket": {"title": "\\ud83d"}}')
    scene.until_quiet()

    assert scene.types("half") == ["ticket.rejected"]
    assert scene.helpdesk.calls == []


@only("base64-body")
def test_a_body_in_base64_is_read_as_it_was_sent(scene: Scene, fault: str) -> None:
    sent = json.dumps(
        add("encoded", ticket={"title": "encoded", "details": "größer ☃"}), ensure_ascii=False
    ).encode()
    assert scene.deployment.call("POST", "/tickets", sent).status == 202
    scene.until_quiet()

    assert scene.types("encoded") == ["ticket.added"]
    assert scene.ticket("encoded").details.startswith("größer ☃")


@only("key-reuse-with-another-payload")
def test_a_used_id_of_another_request_is_refused(scene: Scene, fault: str) -> None:
    scene.make("used")
    other = add("used", ticket={"title": "another"})
    answer = scene.deployment.call("POST", "/tickets", other)
    assert (answer.status, answer.body["code"]) == (409, "request_id_reused")
    scene.deployment.send(other)
    scene.until_quiet()

    assert scene.types("used") == ["ticket.added", "ticket.rejected"]
    assert scene.parked("used") == ["request_id_reused"]
    assert scene.titles() == {"used": 1}


@only("key-reuse-with-another-payload")
def test_of_two_requests_with_one_id_in_a_batch_one_is_refused(scene: Scene, fault: str) -> None:
    scene.deployment.send(add("used"), add("used", ticket={"title": "another"}))
    scene.until_quiet()

    assert sorted(scene.types("used")) == ["ticket.added", "ticket.rejected"]
    assert len(scene.account.tickets()) == 1


@only("reference-of-a-pending-add")
def test_an_update_by_reference_waits_for_its_add(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    scene.helpdesk.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    scene.deployment.send(scene.update("early", None, reference="ours-7"))
    assert len(scene.consume()) == 1
    scene.deployment.send(add("added", reference="ours-7"))
    scene.until_quiet()

    assert scene.types("added") == ["ticket.unknown", "ticket.added"]
    assert scene.types("early") == ["ticket.updated"]
    assert scene.ticket("added").state == "PS"
    # Waiting was no attempt.
    assert scene.events("early")[0]["data"]["attempts"] == 1


@only("unknown-reference")
def test_an_update_of_a_reference_that_never_comes_is_rejected_after_an_hour(
    scene: Scene, fault: str
) -> None:
    scene.deployment.send(scene.update("lost", None, reference="nobody-knows"))
    for _ in range(5):
        scene.clock.let_pass(600)
        scene.deployment.show_all()
        scene.consume_all()
    assert scene.types("lost") == []
    # The hour begins with the first try.
    scene.clock.let_pass(1300)
    scene.deployment.show_all()
    scene.consume_all()

    assert scene.types("lost") == ["ticket.rejected"]
    assert scene.parked("lost") == ["unknown_reference"]
    assert scene.helpdesk.calls == []
    receipt = scene.deployment.call("GET", "/requests/lost")
    assert (receipt.body["state"], receipt.body["code"]) == ("rejected", "unknown_reference")
