"""Socialboards' own calls to us, through API Gateway: the check of an end-point, and webhooks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from bridge.local import sam
from bridge.sending.samples import ApiSend
from tests.e2e.waiting import variables

if TYPE_CHECKING:
    from bridge.local.emulator import Clients
    from bridge.local.state import Stack
    from bridge.sending.triggers import Triggers
    from tests.e2e.waiting import Outcomes


@pytest.fixture
def secret(aws: Clients) -> str:
    named = aws.cloudformation.describe_stack_resource(
        StackName=sam.STACK_NAME, LogicalResourceId="SocialboardsCallbackSecret"
    )["StackResourceDetail"]["PhysicalResourceId"]
    content = aws.secretsmanager.get_secret_value(SecretId=named)["SecretString"]
    return str(json.loads(content)["secret"])


def _post_control(stack: Stack, what: str, order: dict[str, Any]) -> dict[str, Any]:
    """What the simulator tells of a call that it has made."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"{stack.urls['socialboards']}/_control/{what}", json=order, timeout=60)
    answer.raise_for_status()
    reply: dict[str, Any] = answer.json()
    return reply


def test_an_end_point_is_accepted_with_its_own_verify_token_only(stack: Stack, secret: str) -> None:
    url = f"{stack.api_url}/callbacks/socialboards/{secret}"

    right = _post_control(stack, "webhooks/verification", {"url": url, "verify_token": secret})
    wrong = _post_control(stack, "webhooks/verification", {"url": url, "verify_token": "guessed"})

    assert right["verified"], right
    assert (wrong["verified"], wrong["status"]) == (False, 401)


def test_webhooks_are_told_as_one_change_also_where_one_is_no_json(
    stack: Stack, aws: Clients, triggers: Triggers, outcomes: Outcomes, secret: str
) -> None:
    body = {"helpdesk": "socialboards", "request_id": "webhooks", "ticket": {"title": "changes"}}
    # A run of the watch would know the ticket before the first webhook comes.
    with variables(aws, "watch", WATCH_MINUTES="0"):
        triggers.send(ApiSend(trigger="api", method="POST", path="/tickets", body=body))
        ticket_id = outcomes.next(request_id="webhooks")["data"]["ticket_id"]
        url = f"{stack.api_url}/callbacks/socialboards/{secret}"
        order = {"url": url, "ticket_id": int(ticket_id)}

        answers = [
            json.loads(_post_control(stack, "webhooks", order | fault)["body"])
            for fault in ({"missing_comma": True, "omit_ticket_id": True}, {}, {"missing_comma": True})
        ]

    assert [answer["changed"] for answer in answers] == [True, False, False]
    assert outcomes.next(type="ticket.changed", ticket_id=ticket_id)
    assert outcomes.published(type="ticket.changed", ticket_id=ticket_id) == []
