"""Soaks Ticket Bridge in trouble: faulty calls, doubled deliveries, killed workers. Then it counts."""

import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bridge.errors import BridgeError
from bridge.local.processes import stop_signals_raise
from bridge.local.state import StateFolder
from bridge.simulators.faults import FaultRule
from tests.soak.ground import Ground, Outcome, Trouble, control, running_ground
from tests.soak.helpdesks import SOAK_HELPDESKS
from tests.soak.load import PARKED, REJECTED, SUCCEEDED, Load, SoakRequest, comment_of, faults, mark_of

# More open requests would only wait, and each of the emulator's queue operations looks at all of them.
_MOST_OPEN = 800
_SHOWN_EVERY_S = 10.0
_STALLED_S = 150.0
# Calls that ended without a response, after which a request is parked.
_MOST_ATTEMPTS = 5
# So many comments may be parked, with this message, before one has shown that their markers come back.
_UNSEEN = 5
_SAYS_UNSEEN = "comments do not come back with their markers"


class Soak:
    """One run: sends, and receives until everything has ended."""

    def __init__(self, ground: Ground, load: Load, total: int) -> None:
        self._ground = ground
        self._load = load
        self._total = total
        self.requests: dict[str, SoakRequest] = {}
        # By request: its first final outcome of each kind. There must be one kind.
        self.finals: defaultdict[str, dict[str, Outcome]] = defaultdict(dict)
        # Those that were said to be unknown.
        self.unknown: set[str] = set()
        self._open: set[str] = set()
        self.began = time.monotonic()

    def run(self) -> None:
        """Until every request has ended and the queue is empty, or nothing has happened for long."""
        shown_at = active_at = time.monotonic()
        while self._open or len(self.requests) < self._total or self._ground.waiting():
            was_active = self._receive() + self._send()
            now = time.monotonic()
            if was_active:
                active_at = now
            elif now - active_at > _STALLED_S:
                click.echo(f"Nothing has happened for {_STALLED_S:.0f} s: giving up.", err=True)
                break
            else:
                time.sleep(0.05)
            if now - shown_at > _SHOWN_EVERY_S:
                shown_at = now
                self._show()
        self._receive()
        self._show()

    def _send(self) -> int:
        left = self._total - len(self.requests)
        count = min(_MOST_OPEN - len(self._open), left, 50)
        if count < min(10, left):
            return 0
        made = [self._load.next() for _ in range(count)]
        sent = dict(zip(self._ground.send(made), made, strict=True))
        self.requests |= sent
        self._open |= {request_id for request_id in sent if not self.finals[request_id]}
        return count

    def _receive(self) -> int:
        outcomes = self._ground.receive()
        for outcome in outcomes:
            if outcome.kind not in (SUCCEEDED, REJECTED, PARKED):
                self.unknown.add(outcome.request_id)
                continue
            finals, request = self.finals[outcome.request_id], self.requests.get(outcome.request_id)
            has_succeeded = outcome.kind == SUCCEEDED and not finals
            if has_succeeded and outcome.ticket_id and request and request.operation == "add":
                self._load.add_ticket(request.helpdesk, outcome.ticket_id)
            finals.setdefault(outcome.kind, outcome)
            self._open.discard(outcome.request_id)
        return len(outcomes)

    def _show(self) -> None:
        ended = len(self.requests) - len(self._open)
        click.echo(
            f"{time.monotonic() - self.began:5.0f} s  sent {len(self.requests):>6,}  ended {ended:>6,}"
            f"  open {len(self._open):>4}  in doubt {self._ground.doubts():>4}"
            f"  workers killed {self._ground.counts['workers killed']:>4}",
            err=True,
        )


# ── the comparison ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Findings:
    """What is wrong, in texts for people."""

    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Evidence:
    """What the helpdesks' tickets show: by mark, what made, changed and commented them."""

    def __init__(self, tickets: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        self.made: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self.updated: set[str] = set()
        self.comments: Counter[str] = Counter()
        for name, of_helpdesk in tickets.items():
            for ticket in of_helpdesk:
                self.made[ticket["title"].split()[-1]].append((name, str(ticket["ticket_id"])))
                self.updated |= SOAK_HELPDESKS[name].marks(ticket)
                # A marker of ours may follow the comment's first line.
                self.comments.update(comment.partition("\n")[0] for comment in ticket["comments"])


def compare(soak: Soak, evidence: Evidence) -> Findings:
    """What was published, compared with what the helpdesks' tickets show."""
    findings = Findings()
    unseen = 0
    for request_id, request in soak.requests.items():
        finals = soak.finals[request_id]
        made = evidence.made[mark_of(request_id)]
        if len(made) > 1:
            findings.duplicates.append(f"{request_id} has made {len(made)} tickets")
        if evidence.comments[comment_of(request_id)] > 1:
            findings.duplicates.append(f"{request_id} has written its comment more than once")
        if not finals:
            findings.lost.append(f"{request_id} ({request.operation}) has no final outcome")
        if len(finals) > 1:
            findings.wrong.append(f"{request_id} has ended in more than one way: {', '.join(finals)}")
        for outcome in finals.values():
            findings.lost += _lost(request_id, request, outcome, evidence)
            findings.wrong += _wrong(request_id, request, outcome, bool(made))
            unseen += _SAYS_UNSEEN in (outcome.message or "")
    if unseen > _UNSEEN:
        findings.wrong.append(f"markers of comments never came back: {unseen} requests were parked for it")
    return findings


def _lost(request_id: str, request: SoakRequest, outcome: Outcome, evidence: Evidence) -> list[str]:
    """What a request is said to have done and has not."""
    if outcome.kind != SUCCEEDED:
        return []
    made = evidence.made[mark_of(request_id)]
    if request.operation == "add" and made != [(request.helpdesk, outcome.ticket_id)]:
        return [f"{request_id} succeeded with ticket {outcome.ticket_id}, but made {made}"]
    if request.operation == "update" and mark_of(request_id) not in evidence.updated:
        return [f"{request_id} succeeded, but its update is nowhere"]
    if request.has_comment and not evidence.comments[comment_of(request_id)]:
        return [f"{request_id} succeeded, but its comment is nowhere"]
    return []


def _wrong(request_id: str, request: SoakRequest, outcome: Outcome, has_ticket: bool) -> list[str]:
    """How a request may not have ended."""
    texts: list[str] = []
    if outcome.kind not in request.may_end:
        texts.append(f"{request_id} ({request.operation}) was {outcome.kind}: {outcome.code}")
    if outcome.kind == REJECTED and has_ticket:
        texts.append(f"{request_id} was rejected, but made a ticket")
    if outcome.kind == PARKED and not _rightly_parked(request, outcome):
        what = f"{request.operation} at {request.helpdesk}, call {outcome.attempts}"
        texts.append(f"{request_id} ({what}) was parked: {outcome.code}: {outcome.message}")
    return texts


def _rightly_parked(request: SoakRequest, outcome: Outcome) -> bool:
    """Not every comment can be looked up, and five calls without a response are enough."""
    is_unseen = _SAYS_UNSEEN in (outcome.message or "")
    finds_comments = SOAK_HELPDESKS[request.helpdesk].finds_comments and not is_unseen
    return outcome.code in ("outcome_unknown", "crashed") and (
        (request.has_comment and not finds_comments) or outcome.attempts >= _MOST_ATTEMPTS
    )


# ── the report ───────────────────────────────────────────────────────────────────────────────────────────


def report(soak: Soak, ground: Ground, rules: Mapping[str, Sequence[tuple[str, FaultRule]]]) -> bool:
    """Prints what became of everything; whether nothing is wrong."""
    seconds = time.monotonic() - soak.began
    urls = ground.helpdesk_urls
    tickets = {name: control("GET", url, "tickets").json() for name, url in urls.items()}
    findings = compare(soak, Evidence(tickets))
    unknown = ground.doubts()
    if undelivered := ground.undelivered():
        findings.wrong.append(f"{undelivered} messages went to the dead-letter queue by themselves")
    firsts = [next(iter(finals.values())) for name in soak.requests if (finals := soak.finals[name])]
    ends = Counter(outcome.kind for outcome in firsts)
    parked = Counter(
        f"  {soak.requests[outcome.request_id].helpdesk}: {outcome.code}"
        for outcome in firsts
        if outcome.kind == PARKED
    )
    _print(
        "Requests",
        {
            "sent": len(soak.requests),
            "sent twice": sum(len(request.sends) > 1 for request in soak.requests.values()),
            **{kind: ends[kind] for kind in (SUCCEEDED, REJECTED, PARKED)},
            **parked,
            "unknown at first": len(soak.unknown),
            **{f"tickets of {name}": len(of_helpdesk) for name, of_helpdesk in tickets.items()},
            "duplicates": len(findings.duplicates),
            "lost": len(findings.lost),
            "unknown left": unknown,
            "otherwise wrong": len(findings.wrong),
        },
    )
    _print("Functions", dict(sorted(ground.counts.items())))
    hits = Counter[str]()
    for name, url in urls.items():
        calls = Counter(call["operation"] for call in control("GET", url, "calls").json())
        _print(f"Calls of {name}", {"in all": calls.total(), **dict(calls.most_common())})
        for (fault, _), armed in zip(rules[name], control("GET", url, "faults").json(), strict=True):
            hits[fault] += armed["hits"]
    _print("Faults", {"in all": hits.total(), **dict(hits.most_common())})
    click.echo(f"\n{seconds:.0f} s, {len(soak.requests) / seconds:.0f} requests a second", err=True)
    for name, texts in vars(findings).items():
        for text in texts[:20]:
            click.secho(f"{name}: {text}", fg="red", err=True)
    return not (findings.lost or findings.duplicates or findings.wrong or unknown)


def _print(title: str, numbers: Mapping[str, int]) -> None:
    lines = [f"  {name:<40}{number:>8,}" for name, number in numbers.items()]
    click.echo("\n".join(["", title, *lines]), err=True)


def _errors_in(log: Path) -> list[str]:
    """The last lines of the functions' log that are neither metrics nor about metrics."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    metrics = re.compile(r'\s*$|\{"_aws"|.*No application metrics|  self\.flush_')
    return [line for line in lines if not metrics.match(line)][-20:]


_share = click.FloatRange(0, 1)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--requests", "total", type=click.IntRange(1), default=20_000, help="How many are made up.")
@click.option("--faulty", type=_share, default=0.3, help="Share of the helpdesks' calls that go wrong.")
@click.option("--killed", type=_share, default=0.05, help="Share of the invocations to be killed.")
@click.option("--doubled", type=_share, default=0.2, help="Share of requests sent twice, and of batches too.")
@click.option("--seed", type=int, default=1, help="The same seed makes the same requests and faults.")
@click.option("--workers", type=click.IntRange(1, 20), default=4, help="Instances of the queue's consumer.")
def command(total: int, faulty: float, killed: float, doubled: float, seed: int, workers: int) -> None:
    """Send thousands of requests into trouble, and count what was lost, doubled or left in doubt.

    The status is 0 only where nothing was.

    \b
    Example:
      python -m tests.soak --requests 2000 --seed 7
    """
    rules = {name: faults(helpdesk, faulty, seed) for name, helpdesk in SOAK_HELPDESKS.items()}
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        state = StateFolder(Path(folder))
        with running_ground(state, workers, Trouble(killed, doubled, seed)) as ground:
            for name, url in ground.helpdesk_urls.items():
                armed = [rule.model_dump(mode="json", exclude_defaults=True) for _, rule in rules[name]]
                control("POST", url, "faults", armed)
            soak = Soak(ground, Load(seed, doubled), total)
            ground.start()
            soak.run()
            is_clean = report(soak, ground, rules)
            for line in _errors_in(state.log("functions")):
                click.echo(line, err=True)
    sys.exit(0 if is_clean else 1)


def main() -> None:
    """Runs the command; errors that a person can put right are shown without a stack trace."""
    try:
        with stop_signals_raise():
            command()
    except BridgeError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
