"""One deployed local stack for all end-to-end tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bridge.generate.schedules import SCHEDULED_TIME, Schedule
from bridge.local.emulator import Clients
from bridge.local.state import PROJECT, StateFolder
from bridge.sending.triggers import Triggers
from bridge.stacks import local_stack
from bridge.stacks.outcomes import OutcomesQueue

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
def stack(state: StateFolder) -> Stack:
    """The running stack: every value of stack.json. It ticks for `each_minute` from now on."""
    started = local_stack.up(state, report=print)
    _schedule(started)
    return started


# A recurring request, whose first tick the tests that come before its own need not wait for.
EACH_MINUTE = Schedule.model_validate(
    {
        "description": "Each minute",
        "schedule": "cron(* * * * ? *)",
        "request": {"operation": "add", "ticket": {"title": "Each minute"}},
    }
)


def _schedule(stack: Stack) -> None:
    aws = Clients(stack.endpoint_url)
    attributes = {
        url: aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        for url in (stack.requests_queue_url, stack.dead_letter_queue_url)
    }
    aws.scheduler.create_schedule(
        Name="each-minute",
        ScheduleExpression=EACH_MINUTE.schedule,
        ScheduleExpressionTimezone=EACH_MINUTE.zone.key,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": attributes[stack.requests_queue_url]["QueueArn"],
            "RoleArn": "arn:aws:iam::000000000000:role/each-minute",
            "DeadLetterConfig": {"Arn": attributes[stack.dead_letter_queue_url]["QueueArn"]},
            # AWS puts the time of the tick there, the emulator nothing: here each tick is the same one.
            "Input": EACH_MINUTE.input("each-minute").replace(SCHEDULED_TIME, "2026-01-05T09:00:00Z"),
        },
    )


@pytest.fixture(scope="package")
def aws(stack: Stack) -> Clients:
    """AWS clients that talk to the stack."""
    return Clients(stack.endpoint_url)


@pytest.fixture(scope="module")
def nothing_parked(stack: Stack, aws: Clients) -> Iterator[None]:
    """Takes away what the tests of a module have parked, for others list what is parked."""
    yield
    aws.sqs.purge_queue(QueueUrl=stack.dead_letter_queue_url)


@pytest.fixture(scope="package")
def triggers(stack: Stack) -> Triggers:
    """Sends requests in all the ways in which they reach the stack."""
    return Triggers(stack)


@pytest.fixture(scope="package")
def outcomes_queue(stack: Stack) -> OutcomesQueue:
    """The outcomes of the stack that no test has read yet."""
    return OutcomesQueue(stack)
