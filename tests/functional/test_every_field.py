"""No field of a request is dropped in silence: a helpdesk sends it, or the request is refused for it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws
from pydantic import BaseModel

from bridge.simulators.server import running
from helpdesk.models import Attachment, Changes, NewTicket, Requester
from tests.accounts import ACCOUNTS, Account, deployed
from tests.deployment import Clock, Deployment

# A value of each field, and the text by which it is found in what is sent. A new field needs a line here.
TICKET: dict[str, tuple[Any, str]] = {
    "title": ("canary-title", "canary-title"),
    "details": ("canary-details", "canary-details"),
    "due_date": ("2031-05-17", "2031-05-17"),
    "queue": ("48213", "48213"),
    "disposition": ("canary-disposition", "canary-disposition"),
    "priority": ("canary-priority", "canary-priority"),
    "tags": (["canary-tag"], "canary-tag"),
    "requester.email": ("canary@example.com", "canary@example.com"),
    "requester.name": ("canary-name", "canary-name"),
    "requester.phone": ("canary-phone", "canary-phone"),
    "requester.customer_id": ("canary-customer", "canary-customer"),
    "attachments.url": ("https://example.com/canary", "https://example.com/canary"),
    "attachments.name": ("canary-file", "canary-file"),
}
CHANGES: dict[str, tuple[Any, str]] = {
    "sub_status": ("", ""),
    "status": ("canary-status", "canary-status"),
    "queue": ("48213", "48213"),
    "comment": ("canary-comment", "canary-comment"),
    "callback_at": ("2031-05-17T09:00:00", "2031-05-17 09:00:00"),
    "disposition": ("canary-disposition", "canary-disposition"),
    "assignee": ("canary-assignee", "canary-assignee"),
}
_PARTS: dict[str, type[BaseModel]] = {"requester": Requester, "attachments": Attachment}


def fields_of(model: type[BaseModel]) -> Iterator[str]:
    for name in model.model_fields:
        inner = _PARTS.get(name)
        yield from (f"{name}.{part}" for part in inner.model_fields) if inner else (name,)


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
        yield deployed(monkeypatch, account, url, clock)


def ends_as(deployment: Deployment, request: dict[str, Any]) -> dict[str, Any]:
    deployment.send(request)
    deployment.consume()
    (outcome,) = deployment.outcomes()
    return dict(outcome["data"])


def is_sent_or_refused(account: Account, outcome: dict[str, Any], field: str, canary: str) -> None:
    is_sent = any(canary.encode() in call.body for call in account.simulator.calls)
    refused = [error["field"].removesuffix(".unknown") for error in outcome.get("errors", [])]
    assert is_sent or any(f"{field}.".startswith(f"{name}.") for name in refused)


@pytest.mark.parametrize("name", list(fields_of(NewTicket)))
def test_each_field_of_a_ticket_is_sent_or_refused(
    deployment: Deployment, account: Account, name: str
) -> None:
    value, canary = (account.extra[0], "canary-extra") if name == "extra" else TICKET[name]
    key, _, part = name.partition(".")
    ticket: dict[str, Any] = {"title": "T", key: value}
    if key == "requester":
        ticket[key] = {part: value}
    elif key == "attachments":
        ticket[key] = [{"url": "https://example.com/file"} | {part: value}]

    outcome = ends_as(deployment, {"operation": "add", "request_id": "r", "ticket": ticket})

    is_sent_or_refused(account, outcome, f"ticket.{name}", canary)


@pytest.mark.parametrize("name", list(fields_of(Changes)))
def test_each_field_of_changes_is_sent_or_refused(
    deployment: Deployment, account: Account, name: str
) -> None:
    ticket_id = ends_as(deployment, {"operation": "add", "request_id": "r", "ticket": {"title": "T"}})[
        "ticket_id"
    ]
    account.simulator.calls.clear()
    value, canary = (account.extra[1], "canary-extra") if name == "extra" else CHANGES[name]
    state = account.states[0]
    changes = {"sub_status": state} | ({} if name == "sub_status" else {name: value})

    request = {"operation": "update", "request_id": "u", "ticket_id": ticket_id, "changes": changes}
    outcome = ends_as(deployment, request)

    canary = json.dumps(state) if name == "sub_status" else canary
    is_sent_or_refused(account, outcome, f"changes.{name}", canary)
