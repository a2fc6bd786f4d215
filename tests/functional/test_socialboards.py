"""What only Socialboards has, through the true handlers; what it shares with others is in test_helpdesks."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

import ticket_queue
from bridge.simulators.faults import Answer, Fault, FaultRule
from bridge.simulators.server import ReceivedCall, running
from bridge.simulators.socialboards.account import SocialboardsSimulator
from bridge.simulators.socialboards.directory import REFERENCE, ROBERT, STAFF
from bridge.simulators.socialboards.tickets import Ticket
from tests.deployment import Clock, Context, Deployment

TOKEN = "refresh-token-of-the-tests"
CLIENT_ID = "client-of-the-tests"


class DeadlySocialboards(SocialboardsSimulator):
    """The function that makes the call named `deadly` is dead from then on: AWS hears nothing more of it."""

    deadly: str | None = None
    acts_first = True
    is_dead = False

    def perform(self, call: ReceivedCall) -> Answer:
        if call.operation != self.deadly or self.is_dead:
            return super().perform(call)
        self.is_dead = True
        return super().perform(call) if self.acts_first else Answer(status=500)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def socialboards(clock: Clock) -> DeadlySocialboards:
    return DeadlySocialboards(token=TOKEN, client_id=CLIENT_ID, clock=clock)


@pytest.fixture
def deployment(
    monkeypatch: pytest.MonkeyPatch, kapture_url: str, socialboards: SocialboardsSimulator, clock: Clock
) -> Iterator[Deployment]:
    """It serves both helpdesks."""
    with running(socialboards.app()) as url, mock_aws():
        made = Deployment(monkeypatch, kapture_url, "functional-test-token", clock=clock, SETTLE_AFTER_S="0")
        credentials = json.dumps({"refresh_token": TOKEN, "client_id": CLIENT_ID})
        secret = made.secrets.create_secret(Name="socialboards", SecretString=credentials)["ARN"]
        made.set(HELPDESKS="kapture,socialboards", SOCIALBOARDS_URL=url, SOCIALBOARDS_SECRET_ARN=secret)
        yield made


def _add(number: int, **ticket: Any) -> dict[str, Any]:
    return {
        "operation": "add",
        "helpdesk": "socialboards",
        "request_id": f"add-{number}",
        "ticket": {"title": f"ticket {number}", **ticket},
    }


def _update(ticket: Ticket, **changes: Any) -> dict[str, Any]:
    return {
        "operation": "update",
        "helpdesk": "socialboards",
        "request_id": "update",
        "ticket_id": str(ticket.ticket_id),
        "changes": changes,
    }


def _made(deployment: Deployment, socialboards: SocialboardsSimulator, **ticket: Any) -> Ticket:
    deployment.send(_add(0, **ticket))
    deployment.consume()
    assert _types(deployment) == ["ticket.added"]
    return socialboards.tickets[-1]


def _said_before(deployment: Deployment, ticket: Ticket) -> None:
    """A comment that shows that markers come back in notes."""
    deployment.send(_update(ticket, comment="said before") | {"request_id": "before"})
    deployment.consume()
    assert _types(deployment) == ["ticket.updated"]


def _until_quiet(deployment: Deployment) -> None:
    for _ in range(4):
        if deployment.waiting():
            deployment.show_all()
            deployment.consume()
            deployment.resolve_doubts()
    assert deployment.waiting() == 0


def _types(deployment: Deployment) -> list[str]:
    return [event["type"] for event in deployment.outcomes()]


def _calls(socialboards: SocialboardsSimulator, operation: str) -> list[Any]:
    return [json.loads(call.body) for call in socialboards.calls if call.operation == operation]


# ── beside another helpdesk ──────────────────────────────────────────────────────────────────────────────


def test_a_request_goes_to_the_helpdesk_that_it_names_else_to_the_first(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    deployment.send(_add(1), {"operation": "add", "request_id": "k", "ticket": {"title": "for kapture"}})
    deployment.consume()

    added = {event["data"]["helpdesk"]: event["data"]["request_id"] for event in deployment.outcomes()}
    assert added == {"kapture": "k", "socialboards": "add-1"}
    assert [ticket.title for ticket in socialboards.tickets] == ["ticket 1"]


def test_a_refused_refresh_token_closes_this_gate_only(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    socialboards.token = "another"
    deployment.send(_add(1), {"operation": "add", "request_id": "k", "ticket": {"title": "for kapture"}})

    assert len(deployment.consume()) == 1
    assert [event["data"]["helpdesk"] for event in deployment.outcomes()] == ["kapture"]

    socialboards.token = TOKEN
    deployment.secrets.put_secret_value(
        SecretId="socialboards", SecretString=json.dumps({"refresh_token": TOKEN, "client_id": CLIENT_ID})
    )
    deployment.show_all()
    assert deployment.consume() == []
    assert _types(deployment) == ["ticket.added"]


# ── access tokens ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("made_before", [0, 5, 9])
def test_an_access_token_that_ends_in_mid_batch_is_minted_once(
    deployment: Deployment, socialboards: SocialboardsSimulator, made_before: int
) -> None:
    _made(deployment, socialboards)
    perform = socialboards.perform

    def ending(call: ReceivedCall) -> Answer:
        if call.operation == "add" and len(socialboards.tickets) == 1 + made_before:
            socialboards.access_tokens.expire()
            socialboards.perform = perform  # type: ignore[method-assign]  # as it was
        return perform(call)

    socialboards.perform = ending  # type: ignore[method-assign]  # ends the token at that moment
    before = len([call for call in socialboards.calls if call.operation == "token"])
    deployment.send(*(_add(number) for number in range(1, 11)))

    assert deployment.consume() == []

    assert _types(deployment) == ["ticket.added"] * 10
    assert len(socialboards.tickets) == 11
    assert len([call for call in socialboards.calls if call.operation == "token"]) == before + 1


def test_a_refresh_token_that_is_replaced_with_every_mint_goes_on_working(
    deployment: Deployment, socialboards: SocialboardsSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    socialboards.switches = socialboards.switches.model_copy(update={"refresh_rotation": "old_refused"})
    for number in range(3):
        socialboards.access_tokens.expire()
        deployment.send(_add(number))
        assert deployment.consume() == []

    assert len(socialboards.tickets) == 3
    assert caplog.text.count("another refresh token has come") == 3
    assert socialboards.token not in caplog.text


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_field_of_a_new_ticket_arrives(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(
        deployment,
        socialboards,
        details="1 < 2",
        due_date="2030-01-31",
        requester={"email": "a@example.com", "name": "A", "phone": "+47 1", "customer_id": "c-1"},
        queue="15597",
        tags=["one", "two"],
        attachments=[{"url": "https://example.com/a.png"}],
        extra={
            "sentiment": "complaint",
            "source_name": "Shop",
            "cc": ["b@example.com"],
            "image": "https://example.com/face.png",
            "assignee": STAFF.id,
            "custom_fields": [{"id": REFERENCE.id, "value": "order 1"}],
        },
    )

    assert ticket.details.startswith("1 < 2\n\nDue: 2030-01-31\n\n[tb-")
    assert not ticket.is_html
    assert (ticket.creator.name, ticket.creator.email) == ("A", "a@example.com")
    assert (ticket.creator.custom_identifier, ticket.phone) == ("c-1", "+47 1")
    assert ticket.creator.image == "https://example.com/face.png"
    assert ticket.category
    assert ticket.category.id == 15597
    assert ticket.tags == ("one", "two")
    assert [(attachment.url, attachment.name) for attachment in ticket.attachments] == [
        ("https://example.com/a.png",) * 2
    ]
    assert (ticket.sentiment, ticket.source_name, ticket.cc) == ("complaint", "Shop", ("b@example.com",))
    assert ticket.assignee == STAFF
    assert ticket.custom_fields == {REFERENCE.id: "order 1"}


def test_every_change_of_an_update_arrives_once(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards, extra={"assignee": STAFF.id})
    deployment.send(
        _update(
            ticket,
            sub_status="completed",
            queue="23445",
            comment="done",
            assignee=ROBERT.id,
            extra={
                "tags": ["late"],
                "custom_fields": [{"id": REFERENCE.id, "value": "order 2"}],
                "reply": {"message": "We are sorry."},
                "note_author_email": STAFF.email,
            },
        )
    )
    assert deployment.consume() == []

    assert _types(deployment) == ["ticket.updated"]
    [changed] = socialboards.tickets
    assert changed.category
    assert (changed.category.id, changed.tags, changed.assignee) == (23445, ("late",), ROBERT)
    assert changed.custom_fields == {REFERENCE.id: "order 2"}
    assert [reply.message for reply in changed.replies] == ["We are sorry."]
    assert [note.author for note in changed.notes] == [STAFF]
    assert [note.message.startswith("done\n\n[tb-") for note in changed.notes] == [True]
    assert changed.status == "completed"
    assert _calls(socialboards, "set_assignee") == [
        {"assigneeId": ROBERT.id, "previousAssigneeId": STAFF.id}
    ], "the one whom the ticket had is named"


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", ["set_assignee", "set_category", "set_status", "add_note"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_update_of_four_steps_that_breaks_at_one_does_each_once(
    deployment: Deployment,
    socialboards: SocialboardsSimulator,
    operation: str,
    when: Literal["before", "after"],
) -> None:
    ticket = _made(deployment, socialboards)
    _said_before(deployment, ticket)
    socialboards.faults.add(FaultRule(operation=operation, times=1, fault=Fault(reset=when)))
    deployment.send(
        _update(ticket, assignee=STAFF.id, queue="15597", sub_status="pending", comment="said once")
    )
    _until_quiet(deployment)

    [changed] = socialboards.tickets
    assert [comment.split("\n")[0] for comment in changed.comments] == ["said before", "said once"]
    assert (changed.status, changed.assignee) == ("pending", STAFF)
    assert _types(deployment)[-1] == "ticket.updated"
    for other in {"set_assignee", "set_category", "set_status"} - {operation}:
        assert len(_calls(socialboards, other)) == 1, "what was done before the break is not done again"


@pytest.mark.parametrize("operation", ["set_assignee", "set_category", "set_status", "add_note"])
@pytest.mark.parametrize("acts_first", [True, False])
def test_an_update_whose_function_dies_at_a_step_goes_on_there(
    deployment: Deployment,
    socialboards: DeadlySocialboards,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    acts_first: bool,
) -> None:
    ticket = _made(deployment, socialboards)
    _said_before(deployment, ticket)
    socialboards.deadly, socialboards.acts_first = operation, acts_first
    deployment.send(
        _update(ticket, assignee=STAFF.id, queue="15597", sub_status="pending", comment="said once")
    )
    records = deployment.receive()
    alive = BaseClient._make_api_call  # type: ignore[attr-defined]  # left out by botocore's types

    def recorded(*arguments: Any) -> Any:
        if socialboards.is_dead:
            raise EndpointConnectionError(endpoint_url="https://aws.invalid")
        return alive(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", recorded)
        with suppress(EndpointConnectionError):
            ticket_queue.handler({"Records": records}, Context())
        assert socialboards.is_dead
    before = len(socialboards.calls)
    socialboards.deadly = None
    deployment.hidden += [record["receiptHandle"] for record in records]
    deployment.restart()
    for _ in range(5):
        if deployment.waiting():
            clock.let_pass(75)
            deployment.resolve_doubts()
            deployment.show_all()
            deployment.consume()

    assert deployment.waiting() == 0
    assert _types(deployment)[-1] == "ticket.updated"
    [changed] = socialboards.tickets
    assert [comment.split("\n")[0] for comment in changed.comments] == ["said before", "said once"]
    assert changed.category
    assert (changed.status, changed.assignee, changed.category.id) == ("pending", STAFF, 15597)
    again = [call.operation for call in socialboards.calls[before:]]
    steps = ["set_assignee", "set_category", "set_status", "add_note"]
    assert not {*again} & {*steps[: steps.index(operation)]}, "what was done is not done again"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_comment_is_parked_where_notes_cannot_be_listed(
    deployment: Deployment, socialboards: SocialboardsSimulator, when: Literal["before", "after"]
) -> None:
    ticket = _made(deployment, socialboards)
    deployment.set(SOCIALBOARDS_CALLS='{"notes": "GET /tickets/{ticket_id}/memos"}')
    socialboards.faults.add(FaultRule(operation="add_note", times=1, fault=Fault(reset=when)))
    deployment.send(_update(ticket, comment="said once"))
    _until_quiet(deployment)

    assert _types(deployment) == ["ticket.unknown", "ticket.parked"]
    assert len(socialboards.tickets[0].comments) == (1 if when == "after" else 0)


# ── paths that are guesses ───────────────────────────────────────────────────────────────────────────────


def test_updates_at_a_path_that_is_unknown_there_are_rejected_and_close_no_gate(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards)
    socialboards.switches = socialboards.switches.model_copy(update={"unverified_calls": "missing"})
    deployment.send(
        *(_update(ticket, sub_status="pending") | {"request_id": f"u-{number}"} for number in range(6))
    )
    deployment.send(_update(ticket, comment="c") | {"request_id": "comment"})
    assert deployment.consume() == []
    deployment.send(_add(1))
    assert deployment.consume() == []

    events = deployment.outcomes()
    assert [event["type"] for event in events] == ["ticket.rejected"] * 7 + ["ticket.added"]
    assert {event["data"]["code"] for event in events[:7]} == {"not_found"}
    assert "PATCH /tickets/{ticket_id}/status" in {
        e["data"]["message"].split(" knows no ")[1] for e in events[:7]
    }


def test_updates_at_such_a_path_wait_where_the_list_is_not_there_either(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards)
    page = Fault(status=404, body="<html>Not Found</html>")
    socialboards.faults.add(
        *(FaultRule(operation=operation, fault=page) for operation in ("set_status", "list"))
    )
    deployment.send(_update(ticket, sub_status="pending"))
    assert len(deployment.consume()) == 1
    assert deployment.outcomes() == []

    socialboards.faults.clear()
    _until_quiet(deployment)

    assert _types(deployment) == ["ticket.updated"]


@pytest.mark.parametrize("body", ['{"data": {}}', '{"data": null, "errorCode": -1}', '{"data": {"id": "x"}}'])
def test_a_get_that_shows_no_ticket_is_asked_of_the_list(
    deployment: Deployment, socialboards: SocialboardsSimulator, body: str
) -> None:
    ticket = _made(deployment, socialboards)
    socialboards.faults.add(FaultRule(operation="get", fault=Fault(body=body)))
    get = {"ticket_ids": [str(ticket.ticket_id)], "operation": "get", "helpdesk": "socialboards"}
    deployment.send({"request_id": "get", **get})
    assert deployment.consume() == []

    assert _types(deployment) == ["ticket.retrieved"]


def test_a_list_of_something_else_does_not_mean_that_there_are_no_tickets(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards)
    strange = Fault(body='{"data": [{"name": "of something else"}], "errorCode": -1}')
    socialboards.faults.add(FaultRule(operation="list", fault=strange))
    ids = [str(ticket.ticket_id), "1"]
    deployment.send({"request_id": "g", "operation": "get", "helpdesk": "socialboards", "ticket_ids": ids})

    assert len(deployment.consume()) == 1
    assert deployment.outcomes() == []


# ── notes ────────────────────────────────────────────────────────────────────────────────────────────────


def _lose_a_note_among(deployment: Deployment, socialboards: SocialboardsSimulator, others: int) -> Ticket:
    """A note whose answer was lost, after so many others."""
    ticket = _made(deployment, socialboards)
    _said_before(deployment, ticket)
    for number in range(others - 1):
        socialboards.note_by_hand(str(ticket.ticket_id), f"note {number}")
    socialboards.faults.add(FaultRule(operation="add_note", times=1, fault=Fault(reset="after")))
    deployment.send(_update(ticket, comment="said once"))
    _until_quiet(deployment)
    return socialboards.tickets[0]


@pytest.mark.parametrize("in_pages", [True, False])
@pytest.mark.parametrize("others", [60, 120])
def test_a_lost_note_is_found_among_many_and_not_written_again(
    deployment: Deployment, socialboards: SocialboardsSimulator, others: int, in_pages: bool
) -> None:
    socialboards.switches = socialboards.switches.model_copy(update={"notes_in_pages": in_pages})
    ticket = _lose_a_note_among(deployment, socialboards, others)

    assert len(ticket.comments) == others + 1
    assert _types(deployment) == ["ticket.unknown", "ticket.updated"]


def test_a_lost_note_is_parked_where_there_may_be_more_than_is_shown(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    # A server that knows nothing of pages, and has as many notes as one page holds.
    socialboards.switches = socialboards.switches.model_copy(update={"notes_in_pages": False})
    ticket = _lose_a_note_among(deployment, socialboards, 49)

    assert len(ticket.comments) == 50
    assert _types(deployment) == ["ticket.unknown", "ticket.parked"]


def test_a_lost_note_is_parked_where_there_are_too_many_to_read(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _lose_a_note_among(deployment, socialboards, 1100)

    assert len(ticket.comments) == 1101
    assert _types(deployment) == ["ticket.unknown", "ticket.parked"]
    assert _asked(socialboards, "list_notes") == 20


def _asked(socialboards: SocialboardsSimulator, operation: str) -> int:
    return [call.operation for call in socialboards.calls].count(operation)


@pytest.mark.parametrize("comment", ["said once", None])
def test_a_reply_whose_answer_was_lost_is_never_sent_twice(
    deployment: Deployment, socialboards: SocialboardsSimulator, comment: str | None
) -> None:
    ticket = _made(deployment, socialboards)
    socialboards.faults.add(FaultRule(operation="add_reply", times=1, fault=Fault(reset="after")))
    changes: dict[str, Any] = {"extra": {"reply": {"message": "We are sorry."}}}
    deployment.send(_update(ticket, **changes, **({"comment": comment} if comment else {})))
    _until_quiet(deployment)

    assert [reply.message for reply in socialboards.tickets[0].replies] == ["We are sorry."]
    assert _types(deployment) == ["ticket.unknown", "ticket.parked"]
    assert [letter["code"] for letter in deployment.dead_letters()] == ["outcome_unknown"]


def test_a_lost_note_is_parked_where_no_note_shows_that_markers_come_back(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards)
    socialboards.faults.add(FaultRule(operation="add_note", times=1, fault=Fault(reset="before")))
    deployment.send(_update(ticket, comment="said once"))
    _until_quiet(deployment)

    assert _types(deployment) == ["ticket.unknown", "ticket.parked"]


def test_a_reply_that_was_put_off_is_sent_later(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards)
    socialboards.faults.add(FaultRule(operation="add_reply", times=1, fault=Fault(status=429)))
    deployment.send(_update(ticket, extra={"reply": {"message": "We are sorry."}}))
    assert len(deployment.consume()) == 1
    _until_quiet(deployment)

    assert [reply.message for reply in socialboards.tickets[0].replies] == ["We are sorry."]
    assert _types(deployment) == ["ticket.updated"]


# ── markers and look-ups ─────────────────────────────────────────────────────────────────────────────────


def test_a_marker_in_a_custom_field_leaves_the_text_alone_and_finds_a_lost_ticket(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    deployment.set(SOCIALBOARDS_MARKER_FIELD=f"custom_field:{REFERENCE.id}")
    socialboards.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(_add(1, details="words"))
    deployment.consume()
    [ticket] = socialboards.tickets
    assert ticket.details == "words"
    assert ticket.custom_fields[REFERENCE.id].startswith("tb-")

    assert deployment.resolve_doubts()["found"] == 1
    _until_quiet(deployment)

    assert _types(deployment) == ["ticket.unknown", "ticket.added"]
    assert len(socialboards.tickets) == 1


def test_a_lost_ticket_is_found_beyond_the_first_page_of_the_list(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards)
    for _ in range(109):
        socialboards.copy_by_hand(str(ticket.ticket_id))
    socialboards.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(_add(999))
    deployment.consume()

    assert deployment.resolve_doubts()["found"] == 1
    pages = defaultdict(list)
    for body in _calls(socialboards, "list"):
        # A probe asks for one ticket.
        if "from" in body:
            pages[body["from"]].append(body["skip"])
    # Near midnight the neighbouring day is listed as well.
    assert [0, 50, 100] in pages.values()


def test_a_ticket_is_found_in_the_list_where_there_is_no_call_for_one(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    ticket = _made(deployment, socialboards)
    socialboards.switches = socialboards.switches.model_copy(update={"unverified_calls": "missing"})
    get = {"ticket_ids": [str(ticket.ticket_id)], "operation": "get", "helpdesk": "socialboards"}
    deployment.send({"request_id": "get", **get})
    assert deployment.consume() == []

    assert _types(deployment) == ["ticket.retrieved"]


@pytest.mark.parametrize(
    "switches", [{"pascal_case": True}, {"failure_status": "by_cause"}, {"mint_failure": "envelope"}]
)
def test_what_the_vendor_leaves_open_makes_no_difference(
    deployment: Deployment, socialboards: SocialboardsSimulator, switches: dict[str, Any]
) -> None:
    socialboards.switches = socialboards.switches.model_copy(update=switches)
    ticket = _made(deployment, socialboards)
    deployment.send(_update(ticket, sub_status="pending", comment="c"))
    get = {"operation": "get", "helpdesk": "socialboards"}
    deployment.send({"request_id": "some", "ticket_ids": [str(ticket.ticket_id)], **get})
    deployment.send({"request_id": "none", "ticket_ids": ["1"], **get})
    assert deployment.consume() == []

    assert sorted(_types(deployment)) == ["ticket.rejected", "ticket.retrieved", "ticket.updated"]
