"""Learns how an account behaves: from its settings and its secret to the facts and what follows from them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bridge.learning import kapture, proposals, socialboards
from bridge.learning.facts import Learnt
from bridge.learning.recorder import Recorder
from bridge.learning.run import RATE_CALLS, Run
from bridge.learning.trial_ticket import TrialTicket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.learning.facts import Point
    from helpdesk.clients.settings import HelpdeskSettings
    from helpdesk.models import HelpdeskName

# A helpdesk without an entry cannot be learnt: its parameters are set by hand.
LEARNERS: Mapping[str, Any] = {
    "kapture": (kapture.KaptureQuestions, kapture),
    "socialboards": (socialboards.SocialboardsQuestions, socialboards),
}
# Beside the wait for a ticket to show.
_CALLS_S = 480.0


@dataclass(frozen=True, kw_only=True)
class Account:
    """A helpdesk as a stack has it. `parameters` are the values with which the stack runs."""

    helpdesk: HelpdeskName
    settings: HelpdeskSettings
    secret: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 15.0


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How far a run may go. `more` are fields that a ticket needs besides; `rate` reads 20 times more."""

    wait_s: float = 120.0
    rate: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def most_s(self) -> float:
        """The run makes no call after so many seconds."""
        return self.wait_s + _CALLS_S

    def most_calls(self, helpdesk: str) -> int:
        """The run makes no more calls than these."""
        return int(LEARNERS[helpdesk][1].MOST_CALLS) + (RATE_CALLS if self.rate else 0)


def learn(
    account: Account,
    bounds: Bounds,
    report: Callable[[str, Point], None],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Learnt:
    """One run. `report` gets each point as it ends."""
    questions, kind = LEARNERS[account.helpdesk]
    recorder = Recorder(
        account.settings.url,
        operation_of=kind.operation_of,
        most_calls=bounds.most_calls(account.helpdesk),
        most_s=bounds.most_s,
        clock=clock,
        connect_timeout_s=account.connect_timeout_s,
        read_timeout_s=account.read_timeout_s,
    )
    run = Run(recorder, wait_s=bounds.wait_s, report=report, clock=clock, sleep=sleep)
    trial = TrialTicket(account.settings.marker_field, bounds.more)
    run.make(questions(run, account.settings, account.secret, trial, rate=bounds.rate))
    return Learnt(
        helpdesk=account.helpdesk,
        address=account.settings.url,
        learnt_at=datetime.fromtimestamp(clock(), UTC).replace(microsecond=0),
        calls=len(recorder.exchanges),
        tickets=tuple(run.tickets),
        facts=run.facts,
        settings=proposals.follow(account.helpdesk, run.facts, account.parameters, account.defaults),
        points=run.points,
    )
