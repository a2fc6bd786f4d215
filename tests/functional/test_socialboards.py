"""Socialboards on equal terms, through the true handlers."""

import json
from collections.abc import Iterator
from typing import Literal

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from bridge.simulators.socialboards import SocialboardsSimulator
from bridge.simulators.socialboards_directory import STAFF
from tests.deployment import Deployment

TOKEN = "refresh-token-of-the-tests"
CLIENT_ID = "client-of-the-tests"


@pytest.fixture
def socialboards() -> SocialboardsSimulator:
    return SocialboardsSimulator(token=TOKEN, client_id=CLIENT_ID)


@pytest.fixture
def deployment(
    monkeypatch: pytest.MonkeyPatch, kapture_url: str, socialboards: SocialboardsSimulator
) -> Iterator[Deployment]:
    with running(socialboards.app()) as url, mock_aws():
        made = Deployment(monkeypatch, kapture_url, "functional-test-token", SETTLE_AFTER_S="0")
        credentials = json.dumps({"refresh_token": TOKEN, "client_id": CLIENT_ID})
        secret = made.secrets.create_secret(Name="socialboards", SecretString=credentials)["ARN"]
        made.set(HELPDESKS="kapture,socialboards", SOCIALBOARDS_URL=url, SOCIALBOARDS_SECRET_ARN=secret)
        yield made


def _add(number: int) -> dict[str, object]:
    return {
        "operation": "add",
        "helpdesk": "socialboards",
        "request_id": f"add-{number}",
        "ticket": {"title": f"ticket {number}", "details": "1 < 2", "requester": {"email": "a@example.com"}},
    }


def _types(deployment: Deployment) -> list[str]:
    return [event["type"] for event in deployment.outcomes()]


def test_add_update_and_get_work_as_with_any_helpdesk(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    deployment.send(_add(1), {"operation": "add", "request_id": "k", "ticket": {"title": "for kapture"}})
    deployment.consume()
    added = {event["data"]["helpdesk"]: event["data"] for event in deployment.outcomes()}
    assert set(added) == {"kapture", "socialboards"}
    ticket_id = added["socialboards"]["ticket_id"]
    changes = {"sub_status": "pending", "comment": "called back", "queue": "15597"}
    deployment.send(
        {
            "operation": "update",
            "helpdesk": "socialboards",
            "request_id": "u",
            "ticket_id": ticket_id,
            "changes": changes,
        },
    )
    deployment.consume()
    deployment.send(
        {"operation": "get", "helpdesk": "socialboards", "request_id": "g", "ticket_ids": [ticket_id]}
    )
    deployment.consume()

    updated, got = deployment.outcomes()
    assert updated["type"] == "ticket.updated"
    assert got["data"]["ticket"]["sub_status"] == {"key": "pending", "name": "pending"}
    assert got["data"]["ticket"]["queue"] == "15597"
    assert got["data"]["ticket"]["details"].startswith("1 < 2")
    [ticket] = socialboards.tickets
    assert [comment.split("\n")[0] for comment in ticket.comments] == ["called back"]


def test_an_access_token_that_ends_in_mid_batch_is_minted_once(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    deployment.send(_add(0))
    deployment.consume()
    socialboards.access_tokens.expire()
    before = len([call for call in socialboards.calls if call.operation == "token"])
    deployment.send(*(_add(number) for number in range(1, 11)))

    assert deployment.consume() == []

    assert len(socialboards.tickets) == 11
    assert len([call for call in socialboards.calls if call.operation == "token"]) == before + 1


def test_a_lost_answer_is_found_by_its_marker(
    deployment: Deployment, socialboards: SocialboardsSimulator
) -> None:
    socialboards.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(_add(1))
    deployment.consume()
    assert _types(deployment) == ["ticket.unknown"]

    assert deployment.reconcile()["found"] == 1
    deployment.show_all()
    deployment.consume()

    assert _types(deployment) == ["ticket.added"]
    assert len(socialboards.tickets) == 1


@pytest.mark.parametrize("operation", ["set_assignee", "set_category", "set_status", "add_note"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_update_of_four_steps_that_breaks_at_one_does_each_once(
    deployment: Deployment, socialboards: SocialboardsSimulator, operation: str, when: Literal["before", "after"]
) -> None:
    deployment.send(_add(1))
    deployment.consume()
    [ticket] = socialboards.tickets
    socialboards.faults.add(FaultRule(operation=operation, times=1, fault=Fault(reset=when)))
    deployment.send(
        {
            "operation": "update",
            "helpdesk": "socialboards",
            "request_id": "u",
            "ticket_id": str(ticket.ticket_id),
            "changes": {
                "assignee": STAFF.id,
                "queue": "15597",
                "sub_status": "pending",
                "comment": "said once",
            },
        }
    )
    for _ in range(4):
        if deployment.waiting():
            deployment.show_all()
            deployment.consume()
            deployment.reconcile()

    assert deployment.waiting() == 0
    [ticket] = socialboards.tickets
    assert [comment.split("\n")[0] for comment in ticket.comments] == ["said once"]
    assert ticket.status == "pending"
    assert _types(deployment)[-1] == "ticket.updated"


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


def test_fields_that_it_cannot_take_are_all_named(deployment: Deployment) -> None:
    request = _add(1)
    request["ticket"] = {
        "title": "t",
        "disposition": "d",
        "queue": "not a number",
        "extra": {"sentiment": "angry", "colour": "red"},
    }
    deployment.send(request)
    deployment.consume()

    [event] = deployment.outcomes()
    fields = {error["field"] for error in event["data"]["errors"]}
    assert fields == {"ticket.disposition", "ticket.queue", "ticket.extra.sentiment", "ticket.extra.colour"}
