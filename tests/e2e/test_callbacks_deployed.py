"""Socialboards' own calls to us, through API Gateway: the check of an end-point, and webhooks."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from bridge.local import sam
from bridge.sending.samples import ApiSend

if TYPE_CHECKING:
    from bridge.local.emulator import Clients
    from bridge.local.state import Stack
    from bridge.sending.triggers import Triggers
    from bridge.stacks.outcomes import OutcomesQueue


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
    stack: Stack, triggers: Triggers, outcomes_queue: OutcomesQueue, secret: str
) -> None:
    body = {"helpdesk": "socialboards", "ticket": {"title": "changes"}}
    sent = triggers.send(
        ApiSend(trigger="api", method="POST", path="/tickets", body=body, headers={"Prefer": "wait=20"})
    )
    ticket_id = json.loads(sent.answer)["ticket_id"]
    url = f"{stack.api_url}/callbacks/socialboards/{secret}"
    order = {"url": url, "ticket_id": int(ticket_id)}

    answers = [
        json.loads(_post_control(stack, "webhooks", order | fault)["body"])
        for fault in ({"missing_comma": True, "omit_ticket_id": True}, {}, {"missing_comma": True})
    ]

    assert [answer["changed"] for answer in answers] == [True, False, False]
    deadline = time.monotonic() + 30
    types: list[str] = []
    while "ticket.changed" not in types:
        assert time.monotonic() < deadline, types
        events = outcomes_queue.receive(wait_seconds=1)
        types += [event["type"] for event in events if event["data"].get("ticket_id") == ticket_id]
    assert types.count("ticket.changed") == 1
