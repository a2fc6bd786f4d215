"""One deployed local stack for all end-to-end tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge import stack as local_stack
from bridge.emulator import Clients
from bridge.outcomes import OutcomesQueue
from bridge.state import PROJECT, StateFolder
from bridge.triggers import Triggers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.state import Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets one worker of a parallel run have all of these tests, for they share a stack."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def state() -> Iterator[StateFolder]:
    """The state folder of the stack of these tests, beside that of a developer's own stack.

    It is kept between runs for SAM's build cache. Each worker of a parallel run has one.
    """
    folder = StateFolder(PROJECT / ".bridge" / f"e2e-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    # What a killed run has left.
    local_stack.down(folder)
    yield folder
    local_stack.down(folder)


@pytest.fixture(scope="session")
def stack(state: StateFolder) -> Stack:
    """The running stack: every value of stack.json."""
    return local_stack.up(state, report=print)


@pytest.fixture(scope="session")
def aws(stack: Stack) -> Clients:
    """AWS clients that talk to the stack."""
    return Clients(stack.endpoint_url)


@pytest.fixture(scope="module")
def nothing_parked(stack: Stack, aws: Clients) -> Iterator[None]:
    """Takes away what the tests of a module have parked, for others list what is parked."""
    yield
    aws.sqs.purge_queue(QueueUrl=stack.dead_letter_queue_url)


@pytest.fixture(scope="session")
def triggers(stack: Stack) -> Triggers:
    """Sends requests in all the ways in which they reach the stack."""
    return Triggers(stack)


@pytest.fixture(scope="session")
def outcomes_queue(stack: Stack) -> OutcomesQueue:
    """The outcomes of the stack that no test has read yet."""
    return OutcomesQueue(stack)
