"""Requests are found by what people know of them; outcomes are followed, and nothing is left behind."""

import json
import time
from typing import Any

from bridge.operating.finding import Search, find, price
from bridge.operating.operations import Operations
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.stacks.queues import TopicQueue, remove_left_behind
from tests.deployment import Clock, Deployment


def _add(request_id: str, **more: Any) -> dict[str, Any]:
    return {"operation": "add", "request_id": request_id, "ticket": {"title": "Parcel"}, **more}


def test_requests_are_found_by_source_reference_ticket_state_and_time(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    deployment.send(
        _add("a-1", source="shop", reference="o-17"),
        _add("a-2", source="crm"),
        _add("a-3", source="shop", ticket={"titel": "Parcel"}, reference="o-18"),
    )
    deployment.consume()
    ticket = next(ticket.ticket_id for ticket in kapture.tickets)
    owner = find(operations, Search(ticket_id=ticket), 9)[0].request_id
    changes = {"sub_status": "PS"}
    deployment.send(
        {
            "operation": "update",
            "request_id": "u-1",
            "ticket_id": ticket,
            "source": "desk",
            "changes": changes,
        }
    )
    deployment.consume()

    def ids(most: int = 9, **search: Any) -> list[str]:
        return [found.request_id for found in find(operations, Search(**search), most)]

    assert ids() == ["u-1", *ids()[1:]]
    assert sorted(ids()) == ["a-1", "a-2", "a-3", "u-1"]
    assert sorted(ids(source="shop")) == ["a-1", "a-3"]
    assert (ids(source="shop", reference="o-17"), ids(reference="o-18")) == (["a-1"], ["a-3"])
    assert ids(ticket_id=ticket) == ["u-1", owner]
    assert (ids(state="rejected"), ids(state="waiting"), ids(state="parked")) == (["a-3"], [], [])
    assert ids(source="shop", state="succeeded") == ["a-1"]
    assert ids(since=time.time() + 60) == []
    assert ids(most=1) == ["u-1"]
    found = find(operations, Search(reference="o-18"), 9)[0]
    assert (found.state, found.code, found.source) == ("rejected", "invalid_request", "shop")
    assert price(operations.target)[1] < 0.001


def _names(deployment: Deployment) -> tuple[list[str], list[str]]:
    """The tools' queues, and the queues of all subscriptions."""
    urls = deployment.sqs.list_queues(QueueNamePrefix="bridge-").get("QueueUrls", [])
    subscriptions = deployment.sns.list_subscriptions_by_topic(TopicArn=deployment.topic)["Subscriptions"]
    return urls, [subscription["Endpoint"].rpartition(":")[2] for subscription in subscriptions]


def test_a_queue_that_follows_gets_what_its_filter_selects_and_leaves_nothing(
    deployment: Deployment, operations: Operations
) -> None:
    policy = {"source": ["shop"], "outcome": ["succeeded"]}
    with TopicQueue(operations.target, deployment.topic, "tail-ticket-bridge", policy) as queue:
        deployment.send(
            _add("a-1", source="shop"), _add("a-2", source="crm"), _add("a-3", source="shop", ticket={})
        )
        deployment.consume()
        bodies = [json.loads(body) for body in queue.take()]

    assert [body["data"]["request_id"] for body in bodies] == ["a-1"]
    assert _names(deployment) == ([], ["outcomes"])


def test_what_a_killed_tool_has_left_is_removed_and_what_lives_is_not(
    deployment: Deployment, operations: Operations
) -> None:
    name, clock = "tail-ticket-bridge", Clock()
    clock.let_pass(-86_400)
    TopicQueue(operations.target, deployment.topic, name, clock=clock)
    old_but_alive = TopicQueue(operations.target, deployment.topic, name, clock=clock)
    clock.let_pass(86_400)
    old_but_alive.take()
    with TopicQueue(operations.target, deployment.topic, name):
        removed = remove_left_behind(operations.target, deployment.topic, name)
        kept, subscribed = _names(deployment)

    assert removed == 1
    assert (len(kept), len(subscribed)) == (2, 3)
