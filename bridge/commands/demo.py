"""The demo: every sample through its true trigger, each expected outcome awaited, the tickets shown."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from bridge.errors import BridgeError
from bridge.local.helpdesks import HELPDESKS
from bridge.local.processes import check_stop
from bridge.sending import samples
from bridge.sending.triggers import Sent, Triggers
from bridge.stacks.outcomes import OutcomesQueue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.local.state import Stack
    from bridge.sending.samples import Sample

WAIT_SECONDS = 180.0
SENDERS = 8
PLAIN_WIDTH = 150


@dataclass
class Run:
    """How one sample fares: sent, answered, matched with what is expected."""

    sample: Sample
    sending: Future[Sent] | None = None
    sent: Sent | None = None
    began: float = 0.0
    seconds: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.seconds is not None

    @property
    def ended_at(self) -> float:
        return self.began + (self.seconds or 0.0)

    @property
    def results(self) -> dict[str, str]:
        """What other samples may refer to."""
        results = {}
        if self.sent and self.sent.request_id:
            results["request_id"] = self.sent.request_id
        for event in self.events:
            if ticket_id := event.get("data", {}).get("ticket_id"):
                results["ticket_id"] = str(ticket_id)
        return results

    @property
    def as_json(self) -> dict[str, Any]:
        """For a program to read."""
        return {
            "sample": self.sample.name,
            "trigger": self.sample.send.trigger,
            **self.results,
            "status": self.sent.status if self.sent else None,
            "outcomes": [event["type"] for event in self.events],
            "seconds": self.seconds,
            "failures": self.failures,
        }

    def fail(self, reason: str) -> None:
        self.failures.append(reason)
        self.finish()

    def finish(self) -> None:
        self.seconds = time.monotonic() - self.began if self.began else 0.0


class Demo:
    """Runs samples against a stack; `table` shows how far they are at any time."""

    def __init__(self, stack: Stack, selected: Sequence[Sample], shown_after_s: float) -> None:
        self._shown_after_s = shown_after_s
        self.runs = {sample.name: Run(sample) for sample in selected}
        self._triggers = Triggers(stack)
        self._outcomes = OutcomesQueue(stack)
        self._unclaimed: list[dict[str, Any]] = []
        self._seen: set[str] = set()

    def run(self) -> None:
        """Send everything and wait until every sample is through, or for three minutes in vain."""
        # A sample may need another, and that one a third.
        deadline = time.monotonic() + WAIT_SECONDS + 2 * self._shown_after_s
        pool = ThreadPoolExecutor(SENDERS)
        try:
            while not all(run.is_over for run in self.runs.values()):
                check_stop()
                self._send_what_is_ready(pool)
                self._note_what_was_sent()
                self._unclaimed += self._new_events()
                self._claim()
                if time.monotonic() > deadline:
                    self._give_up()
        finally:
            # After Ctrl-C nobody waits for an answer.
            pool.shutdown(wait=False, cancel_futures=True)

    def table(self) -> Table:
        # As narrow as a terminal of eighty columns.
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
        for title in ("trigger", "request", "operation", "outcome", "ticket id", ""):
            table.add_column(title, no_wrap=True)
        table.add_column("secs", justify="right", no_wrap=True)
        for run in self.runs.values():
            table.add_row(*_row(run))
        return table

    def _send_what_is_ready(self, pool: ThreadPoolExecutor) -> None:
        for run in self.runs.values():
            needed = [self.runs[name] for name in sorted(run.sample.needs)]
            if run.sending or run.is_over or not all(other.is_over for other in needed):
                continue
            if any(time.monotonic() < other.ended_at + self._shown_after_s for other in needed):
                continue
            results = {other.sample.name: other.results for other in needed}
            try:
                run.sample = run.sample.filled(results)
            except BridgeError as error:
                run.fail(f"was not sent: {error}")
                continue
            run.began = time.monotonic()
            run.sending = pool.submit(self._triggers.send, run.sample.send)

    def _note_what_was_sent(self) -> None:
        for run in self.runs.values():
            if run.is_over or run.sent or not (run.sending and run.sending.done()):
                continue
            try:
                run.sent = run.sending.result()
            except BridgeError as error:
                run.fail(str(error))
                continue
            if run.sample.statuses and run.sent.status not in run.sample.statuses:
                expected = " or ".join(map(str, run.sample.statuses))
                run.fail(f"was answered with {run.sent.status}, not {expected}: {run.sent.answer[:300]}")
            elif not run.sample.outcomes:
                run.finish()

    def _new_events(self) -> Iterable[dict[str, Any]]:
        """Outcomes are delivered at least once: a repeat has the same id."""
        for event in self._outcomes.receive(wait_seconds=1):
            if event.get("id") not in self._seen:
                self._seen.add(str(event.get("id")))
                yield event

    def _claim(self) -> None:
        """Give each event to the sample whose request it answers, once that sample's request_id is known."""
        for run in self.runs.values():
            if run.sent is None or run.is_over:
                continue
            own = [e for e in self._unclaimed if e.get("data", {}).get("request_id") == run.sent.request_id]
            self._unclaimed = [event for event in self._unclaimed if event not in own]
            run.events += own
            if len(run.events) >= len(run.sample.outcomes):
                _judge(run)

    def _give_up(self) -> None:
        for run in self.runs.values():
            if not run.is_over and not run.began:
                run.fail(f"was not sent: waits for {', '.join(sorted(run.sample.needs))}")
            elif not run.is_over:
                run.fail(f"no outcome within {WAIT_SECONDS:.0f} s; expected {run.sample.outcomes}")


def _judge(run: Run) -> None:
    left = list(run.events)
    for expected in run.sample.outcomes:
        by_event = [(event, samples.mismatches(expected, event)) for event in left]
        match = next((event for event, problems in by_event if not problems), None)
        if match is None:
            run.failures += by_event[0][1]
        else:
            left.remove(match)
    run.finish()


def play(
    stack: Stack, selected: Sequence[Sample], console: Console | None, shown_after_s: float = 0.0
) -> list[Run]:
    """Run the samples with a live table (on a terminal), then show what the helpdesk holds.

    A sample that needs another's ticket is sent once the helpdesk shows that ticket, `shown_after_s` later.
    Returns how each fared; without a console nothing is shown.
    """
    demo = Demo(stack, selected, shown_after_s)
    if console and console.is_terminal:
        with Live(console=console, get_renderable=demo.table, refresh_per_second=4):
            demo.run()
    else:
        demo.run()
        if console:
            console.print(demo.table())
    if console:
        console.print(tickets_table(stack))
    return list(demo.runs.values())


def console() -> Console:
    """A console that elsewhere than on a terminal writes plain text, in lines wide enough for the tables."""
    usual = Console()
    return usual if usual.is_terminal else Console(width=PLAIN_WIDTH, no_color=True, highlight=False)


def tickets_table(stack: Stack) -> Table:
    """The tickets that the simulators hold."""
    table = Table("helpdesk", "ticket id", "title", "e-mail", "state", "comments", box=box.SIMPLE_HEAD)
    counts = []
    for desk in HELPDESKS:
        tickets = desk.control(stack.urls, "GET", "tickets")
        counts.append(f"{desk.title} {len(tickets)}")
        for ticket in tickets:
            comments = "; ".join(" ".join(comment.split()) for comment in ticket["comments"])
            about = [str(ticket[key] or "") for key in ("ticket_id", "title", "email", "state")]
            table.add_row(desk.name, *about, comments)
    table.title = f"Tickets that the simulators hold: {', '.join(counts)}"
    return table


def _row(run: Run) -> list[str]:
    contents = [event.get("data", {}) for event in run.events]
    operations = [str(content.get("operation", "")) for content in contents]
    outcomes = [str(content.get("outcome", "")) for content in contents]
    if run.sent and run.sent.status is not None:
        outcomes = [str(run.sent.status), *outcomes]
    seconds = run.seconds if run.seconds is not None else time.monotonic() - run.began if run.began else None
    return [
        run.sample.send.trigger,
        run.sample.name,
        ", ".join(operations),
        " ".join(outcomes),
        run.results.get("ticket_id", ""),
        _verdict(run),
        "" if seconds is None else f"{seconds:.1f}",
    ]


def _verdict(run: Run) -> str:
    if run.failures:
        return "[red]fail[/]"
    if run.is_over:
        return "[green]ok[/]"
    return ".." if run.began else ""
