"""The console does what the command line does, and shows customers' words only to who has opened a copy."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from bridge.console.connection import Connected
from bridge.console.handling import ACTS, story
from bridge.errors import BridgeError
from bridge.operating.operations import Operations
from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.errors import RejectedError
from tests.deployment import Deployment

WRONG = {
    "operation": "add",
    "request_id": "o-17",
    "source": "shop",
    "reference": "r-17",
    "ticket": {"title": "Parcel of Ana", "due_date": "tomorrow"},
}


def _act(operations: Operations, name: str, **posted: Any) -> dict[str, Any]:
    done = ACTS[name].model_validate(posted).on(operations)
    json.dumps(done)
    return done


@pytest.fixture
def rejected(deployment: Deployment) -> Deployment:
    deployment.send(WRONG)
    deployment.consume()
    return deployment


def test_a_copys_text_is_in_a_draft_and_nowhere_else(rejected: Deployment, operations: Operations) -> None:
    shown = [
        _act(operations, "parked"),
        _act(operations, "find", source="shop"),
        _act(operations, "redrive", dry_run=True),
        _act(operations, "drop", dry_run=True, why=""),
        story(operations, "o-17"),
    ]

    assert "Ana" not in json.dumps(shown)
    assert "Ana" in _act(operations, "draft", request_id="o-17")["text"]


def test_a_correction_names_each_wrong_field_and_is_then_sent_as_the_same_request(
    rejected: Deployment, operations: Operations, kapture: KaptureSimulator
) -> None:
    draft = _act(operations, "draft", request_id="o-17", code="invalid_request")
    which = {"request_id": "o-17", "code": "invalid_request", "message_id": draft["message_id"]}

    with pytest.raises(RejectedError) as refused:
        _act(operations, "correct", **which, text=draft["text"].replace("title", "titel"))
    fields = {problem.field for problem in refused.value.problems}
    assert fields == {"ticket.title", "ticket.titel", "ticket.due_date"}
    sent = _act(operations, "correct", **which, text=draft["text"].replace("tomorrow", "2026-12-31"))
    rejected.consume()

    assert (sent["request_id"], sent["is_same"], sent["words"]) == ("o-17", True, "o-17 is sent again.")
    assert [ticket.title for ticket in kapture.tickets] == ["Parcel of Ana"]
    steps = [step["text"] for step in story(operations, "o-17")["steps"]]
    noted = " corrected it and sent it again. Wrong before: ticket.due_date."
    assert any(text.endswith(noted) for text in steps)
    with pytest.raises(BridgeError, match="Nothing is parked of request o-17"):
        _act(operations, "correct", **which, text=draft["text"])


def test_a_correction_takes_the_place_of_the_copy_that_was_read_and_of_no_other(
    deployment: Deployment, operations: Operations
) -> None:
    for day in ("tomorrow", "soon"):
        deployment.send({**WRONG, "ticket": {"title": day, "due_date": day}})
        deployment.consume()
    draft = _act(operations, "draft", request_id="o-17")
    read = json.loads(draft["text"])["ticket"]["title"]

    text = draft["text"].replace(f'"due_date": "{read}"', '"due_date": "2026-12-31"')
    _act(operations, "correct", request_id="o-17", message_id=draft["message_id"], text=text)

    (left,) = operations.parked().copies
    assert json.loads(left.body)["ticket"]["title"] == {"tomorrow": "soon", "soon": "tomorrow"}[read]


def test_requests_are_found_by_the_filters_of_the_command(
    rejected: Deployment, operations: Operations
) -> None:
    rejected.send({"operation": "add", "request_id": "o-18", "source": "crm", "ticket": {"title": "Parcel"}})
    rejected.consume()

    def ids(**filters: Any) -> list[str]:
        return [found["request_id"] for found in _act(operations, "find", **filters)["requests"]]

    assert (ids(source="shop", state="rejected", since="2h"), ids(reference="r-17")) == (["o-17"], ["o-17"])
    assert ids(state="succeeded", helpdesk="kapture") == ["o-18"]
    assert _act(operations, "find", most=1)["may_be_more"]
    since = _act(operations, "find", since="2h")["since"]
    ago = datetime.now(UTC) - datetime.fromisoformat(since)
    assert timedelta(hours=2) <= ago < timedelta(hours=2, minutes=5)
    assert _act(operations, "find", since=since)["since"] == since
    assert _act(operations, "price") == {"is_high": False, "words": ""}
    with pytest.raises(RejectedError) as refused:
        ids(state="lost", helpdesk="elsewhere", since="99999999999d")
    assert [problem.field for problem in refused.value.problems] == ["helpdesk", "state", "since"]


def test_a_search_that_hides_many_parked_copies_from_others_has_its_price(
    deployment: Deployment, operations: Operations
) -> None:
    for batch in range(11):
        entries: Any = [{"Id": str(place), "MessageBody": f"{batch}-{place}"} for place in range(10)]
        deployment.sqs.send_message_batch(QueueUrl=deployment.dead_letter_queue, Entries=entries)

    assert _act(operations, "price") == {"is_high": True, "words": "110 parked copies"}


def test_a_story_says_its_state_and_the_command_that_tells_it(
    rejected: Deployment, operations: Operations
) -> None:
    told = story(operations, "o-17")

    assert (told["state"], told["errors"][0]["field"]) == ("rejected", "ticket.due_date")
    assert told["command"] == "bridge trace o-17 --stack ticket-bridge"
    odd = story(operations, "a;b*\x1b")
    assert odd["command"] == r"bridge trace 'a;b*\x1b' --stack ticket-bridge"
    assert (odd["state"], len(odd["unread"])) == ("", 1)


@pytest.mark.parametrize("name", ["redrive", "drop"])
def test_what_is_parked_after_a_dry_run_stays(
    rejected: Deployment, operations: Operations, name: str
) -> None:
    shown = _act(operations, "redrive", dry_run=True)["message_ids"]
    rejected.send({**WRONG, "request_id": "o-18"})
    rejected.consume()

    why = {"why": "a test"} if name == "drop" else {}
    assert _act(operations, name, dry_run=False, message_ids=shown, **why)["count"] == 1

    assert [copy.request_id for copy in operations.parked().copies] == ["o-18"]


def test_requests_are_counted_and_so_are_their_copies_where_those_are_more(
    rejected: Deployment, operations: Operations
) -> None:
    for request_id in ("o-17", "o-18"):
        rejected.send({**WRONG, "request_id": request_id})
    rejected.consume()

    listed = _act(operations, "redrive", dry_run=True)
    dropped = _act(operations, "drop", dry_run=False, why="a test", message_ids=listed["message_ids"])

    assert (listed["count"], listed["all"], listed["counted"]) == (2, 2, "2 requests (3 copies)")
    assert sorted(copy["count"] for copy in listed["copies"]) == [1, 2]
    assert dropped["counted"] == "2 requests (3 copies)"


def test_what_may_have_made_its_ticket_is_left_out_unless_it_is_named(
    deployment: Deployment, operations: Operations
) -> None:
    attributes = {"request_id": "o-17", "code": "outcome_unknown", "source": "shop"}
    deployment.sqs.send_message(
        QueueUrl=deployment.dead_letter_queue,
        MessageBody=json.dumps(WRONG),
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )

    assert _act(operations, "parked")["copies"][0]["may_have_happened"]
    for selection, counts in (({}, (0, 1)), ({"source": "shop"}, (0, 1)), ({"request_id": "o-17"}, (1, 0))):
        listed = _act(operations, "redrive", dry_run=True, **selection)
        assert (listed["count"], listed["left_out"]) == counts
    with pytest.raises(BridgeError, match="Say why"):
        _act(operations, "drop", dry_run=False, why=" ", request_id="o-17")


def test_of_a_stack_that_is_gone_no_helpdesk_is_shown(operations: Operations) -> None:
    formation = boto3.client("cloudformation", region_name="eu-west-1")
    operations.target.__dict__["cloudformation"] = formation
    with Stubber(formation) as answers:
        answers.add_client_error("describe_stacks", "ValidationError", "Stack with id s does not exist")

        with pytest.raises(BridgeError, match="There is no stack"):
            _ = Connected(operations.target).helpdesks
