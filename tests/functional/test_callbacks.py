"""Callbacks of a helpdesk: the ticket itself is read, and each change of it is told once."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from bridge.simulators.socialboards.account import SocialboardsSimulator
from bridge.simulators.socialboards.webhooks import Webhook, webhook_body
from helpdesk.models import Identity, Outcome, OutcomeKind, Ticket
from tests.accounts import ACCOUNTS, Account, KaptureAccount, SocialboardsAccount, at, deployed
from tests.deployment import Answer, Clock, Deployment

SECRET = "the-callback-secret"
CUSTOMER = "The lamp arrived in two parts."


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
def account(request: pytest.FixtureRequest, clock: Clock) -> Account:
    made: Account = request.param(clock)
    return made


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, account: Account, clock: Clock) -> Iterator[Deployment]:
    with running(account.simulator.app()) as url, mock_aws():
        made = deployed(monkeypatch, account, url, clock)
        made.put_callback_secret(account.name, SECRET)
        yield made


@pytest.fixture
def ticket_id(deployment: Deployment) -> str:
    """A ticket that the bridge has made."""
    deployment.send(
        {"operation": "add", "request_id": "r-1", "ticket": {"title": "Help", "details": CUSTOMER}}
    )
    deployment.consume()
    (outcome,) = deployment.outcomes()
    return str(outcome["data"]["ticket_id"])


def call_back(deployment: Deployment, account: Account, body: Any, secret: str = SECRET) -> Answer:
    return deployment.callback(account.name, body, headers={"X-Callback-Secret": secret})


def change(deployment: Deployment, ticket_id: str, sub_status: str) -> None:
    """Changes the ticket, and takes the outcome of that off the queue."""
    update = {
        "operation": "update",
        "ticket_id": ticket_id,
        "changes": {"sub_status": sub_status, "comment": "looked at"},
    }
    deployment.send(update)
    deployment.consume()
    assert [event["type"] for event in deployment.outcomes()] == ["ticket.updated"]


def test_a_callback_tells_the_tickets_state_as_the_helpdesk_shows_it(
    deployment: Deployment, account: Account, ticket_id: str
) -> None:
    state = account.states[0]
    change(deployment, ticket_id, state)

    answer = call_back(deployment, account, account.callback(ticket_id))

    assert (answer.status, answer.body["changed"]) == (200, True)
    (event,) = deployment.outcomes()
    assert (event["type"], event["subject"]) == ("ticket.changed", ticket_id)
    told = event["data"]
    assert (told["helpdesk"], told["ticket_id"], told["outcome"]) == (account.name, ticket_id, "succeeded")
    # Not what the callback says, but what the ticket is.
    assert told["ticket"]["sub_status"]["key"] == state
    assert "operation" not in told


@pytest.mark.parametrize("with_raw", [False, True])
def test_a_change_holds_the_helpdesks_own_fields_only_where_the_stack_is_told_so(
    deployment: Deployment, account: Account, ticket_id: str, *, with_raw: bool
) -> None:
    deployment.set(CHANGES_WITH_RAW="true" if with_raw else "false")
    change(deployment, ticket_id, account.states[0])

    call_back(deployment, account, account.callback(ticket_id))

    (event,) = deployment.outcomes()
    assert ("raw" in event["data"]["ticket"]) is with_raw


def test_subscribers_can_select_changes(deployment: Deployment, account: Account, ticket_id: str) -> None:
    queue = deployment.subscribe("changes", {"type": ["ticket.changed"], "helpdesk": [account.name]})
    call_back(deployment, account, account.callback(ticket_id))
    (message,) = deployment.drain(queue)
    assert json.loads(message["Body"])["type"] == "ticket.changed"


def test_repeats_are_told_once(deployment: Deployment, account: Account, ticket_id: str) -> None:
    first, *repeats = (call_back(deployment, account, account.callback(ticket_id)) for _ in range(4))

    assert first.body["changed"] is True
    assert [answer.body for answer in repeats] == [{"ticket_id": ticket_id, "changed": False}] * 3
    assert len(deployment.outcomes()) == 1


def test_a_ticket_that_comes_back_to_an_earlier_state_has_changed_again(
    deployment: Deployment, account: Account, ticket_id: str
) -> None:
    ids = []
    first, second = account.states
    for sub_status in (first, second, first):
        change(deployment, ticket_id, sub_status)
        call_back(deployment, account, account.callback(ticket_id))
        (event,) = deployment.outcomes()
        assert event["data"]["ticket"]["sub_status"]["key"] == sub_status
        ids.append(event["id"])

    assert len(set(ids)) == 3


def test_a_look_that_is_overtaken_by_a_newer_one_is_made_again(
    deployment: Deployment, account: Account, ticket_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = account.states
    account.simulator.change_by_hand(ticket_id, first)
    helpdesks = deployment.parts.helpdesks
    get = helpdesks.get

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(helpdesks, "get", get)
        older = get(*arguments)
        account.simulator.change_by_hand(ticket_id, second)
        call_back(deployment, account, account.callback(ticket_id))
        return older

    monkeypatch.setattr(helpdesks, "get", overtaken)
    answer = call_back(deployment, account, account.callback(ticket_id))

    assert (answer.status, answer.body["changed"]) == (200, False)
    told = [event["data"]["ticket"]["sub_status"]["key"] for event in deployment.outcomes()]
    assert told == [second]


def test_a_change_that_the_topic_did_not_take_is_told_by_the_next_callback(
    deployment: Deployment, account: Account, ticket_id: str
) -> None:
    deployment.set(OUTCOMES_TOPIC_ARN="arn:aws:sns:eu-west-1:123456789012:nowhere")
    refused = call_back(deployment, account, account.callback(ticket_id))
    deployment.set(OUTCOMES_TOPIC_ARN=deployment.topic)
    repeated = call_back(deployment, account, account.callback(ticket_id))

    assert (refused.status, refused.body["code"]) == (503, "topic_unavailable")
    assert repeated.body["changed"] is True
    assert len(deployment.outcomes()) == 1


def test_a_change_told_but_not_remembered_is_told_again_as_the_same_event(
    deployment: Deployment, account: Account, ticket_id: str
) -> None:
    call_back(deployment, account, account.callback(ticket_id))
    deployment.dynamodb.delete_item(
        TableName="ledger", Key={"pk": {"S": f"change#{account.name}#{ticket_id}"}}
    )
    call_back(deployment, account, account.callback(ticket_id))

    first, second = deployment.outcomes()
    assert first["id"] == second["id"]


def test_two_looks_at_one_change_are_one_event_though_the_later_shows_more() -> None:
    def look(title: str) -> str:
        return Outcome(
            identity=Identity(request_id="change:1:1:abc", helpdesk="kapture"),
            kind=OutcomeKind.SUCCEEDED,
            changed=True,
            ticket_id="1",
            tickets=(Ticket(helpdesk="kapture", ticket_id="1", title=title),),
        ).event_id

    assert look("a") == look("b")


@at(KaptureAccount)
@pytest.mark.parametrize(
    "shape",
    [
        lambda ticket_id: {"ticketId": ticket_id},
        lambda ticket_id: {"ticketId": int(ticket_id), "sub-status": "Unattended"},
        lambda ticket_id: {"ticket_id": ticket_id, "sub_status": "Unattended", "queue": "x"},
        lambda ticket_id: {"Ticket Id": ticket_id, "status": "Something New"},
        lambda ticket_id: [{"TicketID": ticket_id}],
        lambda ticket_id: {
            "event": "disposed",
            "task_details": {"ticketId": ticket_id, "ticketCloseEmpId": 3},
        },
    ],
)
def test_whatever_shape_of_kaptures_names_a_ticket_is_understood(
    deployment: Deployment, account: Account, ticket_id: str, shape: Any
) -> None:
    answer = call_back(deployment, account, shape(ticket_id))
    assert (answer.status, answer.body["ticket_id"]) == (200, ticket_id)


@at(SocialboardsAccount)
@pytest.mark.parametrize(
    "oddity",
    [
        {},
        {"omit_ticket_id": True},
        {"null_attachments": True},
        {"missing_comma": True},
        {"missing_comma": True, "omit_ticket_id": True},
        {"event_type": "ticket_category_change", "envelope_ticket_id": 4478963},
        {"event_type": "an_event_of_another_name"},
    ],
    ids=lambda oddity: "+".join(oddity) or "as described",
)
def test_every_oddity_of_socialboards_samples_is_understood(
    deployment: Deployment, account: Account, ticket_id: str, oddity: dict[str, Any]
) -> None:
    assert isinstance(account.simulator, SocialboardsSimulator)
    order = Webhook(url="http://nobody.invalid", ticket_id=int(ticket_id), **oddity)
    [ticket] = account.simulator.tickets

    answer = call_back(deployment, account, webhook_body(order, ticket).decode())

    assert (answer.status, answer.body["changed"]) == (200, True)
    (event,) = deployment.outcomes()
    assert (event["type"], event["subject"]) == ("ticket.changed", ticket_id)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ticketId": ""},
        {"ticketId": "0"},
        {"ticketId": "1,2"},
        {"ticketId": True},
        {"TicketId": 0, "Events": []},
        {"TicketId": None, "Events": [{"Ticket": None}, 5]},
    ],
)
def test_a_callback_that_names_no_ticket_is_refused(
    deployment: Deployment, account: Account, body: Any
) -> None:
    assert call_back(deployment, account, body).status == 422


def test_a_body_that_is_no_json_and_names_no_ticket_is_refused(
    deployment: Deployment, account: Account
) -> None:
    answer = call_back(deployment, account, "ticket=1")
    assert (answer.status, answer.body["code"]) == (400, "not_json")


def test_a_ticket_that_the_helpdesk_does_not_show_is_no_change(
    deployment: Deployment, account: Account
) -> None:
    answer = call_back(deployment, account, account.callback("999999999999"))
    assert (answer.status, answer.body) == (200, {"ticket_id": "999999999999", "changed": False})
    assert deployment.outcomes() == []


# ── the check of an address ──────────────────────────────────────────────────────────────────────────────


@at(SocialboardsAccount)
def test_the_check_of_an_address_gets_its_challenge_back(deployment: Deployment, account: Account) -> None:
    query = {"challenge": "1158201444", "verifyToken": SECRET}

    answer = deployment.address_check(account.name, query, SECRET)

    assert (answer.status, answer.body) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")


@at(SocialboardsAccount)
@pytest.mark.parametrize(("token", "path_secret"), [("guessed", SECRET), (SECRET, "guessed"), (SECRET, None)])
def test_only_an_address_whose_callbacks_would_be_believed_is_verified(
    deployment: Deployment, account: Account, token: str, path_secret: str | None
) -> None:
    query = {"challenge": "1158201444", "verifyToken": token}

    answer = deployment.address_check(account.name, query, path_secret)

    assert answer.status == 401
    assert "1158201444" not in str(answer.body)


@at(SocialboardsAccount)
@pytest.mark.parametrize(
    "query", [{"verifyToken": SECRET}, {"challenge": "1"}, {"challenge": "<b>", "verifyToken": SECRET}]
)
def test_what_is_no_check_of_an_address_is_not_found(
    deployment: Deployment, account: Account, query: dict[str, str]
) -> None:
    assert deployment.address_check(account.name, query, SECRET).status == 404


@at(KaptureAccount)
def test_a_helpdesk_that_checks_no_address_is_told_nothing(deployment: Deployment, account: Account) -> None:
    query = {"challenge": "1158201444", "verifyToken": SECRET}
    assert deployment.address_check(account.name, query, SECRET).status == 404


# ── who is believed ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "path_secret"),
    [
        ({}, None),
        ({"X-Callback-Secret": "guessed"}, None),
        ({}, "guessed"),
        ({"X-Callback-Secret": SECRET}, "x"),
    ],
)
def test_a_callback_without_the_secret_costs_no_call(
    deployment: Deployment,
    account: Account,
    ticket_id: str,
    headers: dict[str, str],
    path_secret: str | None,
) -> None:
    before = len(account.simulator.calls)
    answer = deployment.callback(
        account.name, account.callback(ticket_id), headers=headers, path_secret=path_secret
    )

    assert answer.status == 401
    assert len(account.simulator.calls) == before
    assert deployment.outcomes() == []


def test_the_secret_may_stand_in_the_path(deployment: Deployment, account: Account, ticket_id: str) -> None:
    assert deployment.callback(account.name, account.callback(ticket_id), path_secret=SECRET).status == 200


def test_a_changed_secret_is_read_at_once(deployment: Deployment, account: Account, ticket_id: str) -> None:
    call_back(deployment, account, account.callback(ticket_id))
    deployment.put_callback_secret(account.name, "another-callback-secret")
    assert (
        call_back(deployment, account, account.callback(ticket_id), "another-callback-secret").status == 200
    )


def test_an_unknown_helpdesk_is_not_found(deployment: Deployment) -> None:
    assert deployment.callback("nobody", {}).status == 404


def test_nothing_of_a_callback_or_its_ticket_is_logged(
    deployment: Deployment, account: Account, ticket_id: str, log: io.StringIO
) -> None:
    call_back(deployment, account, account.callback(ticket_id) | {"note": CUSTOMER})
    call_back(deployment, account, account.callback(ticket_id) | {"note": CUSTOMER}, "guessed")
    # A secret that was put into the wrong part of the path.
    assert deployment.callback(SECRET, account.callback(ticket_id)).status == 404
    lines = log.getvalue()
    assert ticket_id in lines
    assert "callback refused" in lines
    assert not [text for text in (CUSTOMER, SECRET, "guessed", "Help") if text in lines]


# ── helpdesk down ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503, headers={"Retry-After": "7"}), Fault(status=429), Fault(status=500, body="oops")],
)
def test_a_helpdesk_that_cannot_be_asked_is_no_success(
    deployment: Deployment, account: Account, ticket_id: str, fault: Fault
) -> None:
    account.simulator.faults.add(FaultRule(operation=account.gets, times=1, fault=fault))

    answer = call_back(deployment, account, account.callback(ticket_id))

    assert answer.status == 503
    assert answer.headers["retry-after"]
    assert deployment.outcomes() == []


def test_a_closed_gate_spares_the_helpdesk(deployment: Deployment, account: Account, ticket_id: str) -> None:
    account.simulator.faults.add(
        FaultRule(operation=account.gets, times=1, fault=Fault(status=429, headers={"Retry-After": "60"}))
    )
    call_back(deployment, account, account.callback(ticket_id))
    before = len(account.simulator.calls)

    assert call_back(deployment, account, account.callback(ticket_id)).status == 503
    assert len(account.simulator.calls) == before
