"""One deployed local stack for all end-to-end tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.local.emulator import Clients
from bridge.local.helpdesks import HELPDESKS
from bridge.local.state import PROJECT, StateFolder
from bridge.sending.triggers import Triggers
from bridge.stacks import local_stack
from bridge.stacks.target import local
from tests.e2e.waiting import Outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.local.state import Stack


@pytest.fixture(scope="package")
def state() -> Iterator[StateFolder]:
    """The state folder of the stack of these tests, beside that of a developer's own stack.

    It is kept between runs for SAM's build cache. Each worker of a parallel run has one.
    """
    folder = StateFolder(PROJECT / ".bridge" / f"e2e-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    # What a killed run has left.
    local_stack.down(folder)
    yield folder
    local_stack.down(folder)


@pytest.fixture(scope="package")
def deployed(state: StateFolder) -> Stack:
    """The running stack, as the modules before have left it."""
    return local_stack.up(state, report=print)


@pytest.fixture(scope="module")
def stack(deployed: Stack) -> Stack:
    """The running stack: every value of stack.json. No module begins with the troubles of another.

    Functions still run by the clock, and alarms follow figures of the last minutes.
    """
    target = local(deployed)
    for helpdesk in HELPDESKS:
        helpdesk.control(deployed.urls, "DELETE", "faults")
        # Closed gates, refused keys, a pause.
        target.table.delete(f"gate#{helpdesk.name}")
    for queue in (deployed.requests_queue_url, deployed.dead_letter_queue_url, deployed.outcomes_queue_url):
        target.sqs.purge_queue(QueueUrl=queue)
    return deployed


@pytest.fixture(scope="module")
def aws(stack: Stack) -> Clients:
    """AWS clients that talk to the stack."""
    return Clients(stack.endpoint_url)


@pytest.fixture
def nothing_parked(stack: Stack, aws: Clients) -> None:
    """Takes away what the tests before have parked."""
    aws.sqs.purge_queue(QueueUrl=stack.dead_letter_queue_url)


@pytest.fixture(scope="module")
def triggers(stack: Stack) -> Triggers:
    """Sends requests in all the ways in which they reach the stack."""
    return Triggers(stack)


@pytest.fixture(scope="module")
def outcomes(stack: Stack) -> Outcomes:
    """What the stack publishes."""
    return Outcomes(stack)
