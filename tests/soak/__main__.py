"""Soaks Ticket Bridge in trouble: faulty calls, doubled deliveries, killed workers. Then it counts."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
import requests
from rich.console import Console
from rich.table import Table

from bridge.errors import BridgeError
from bridge.local.processes import stop_signals_raise
from bridge.local.state import StateFolder
from tests.soak import ground as local_ground
from tests.soak import stack_ground
from tests.soak.helpdesks import SOAKED, comments_of
from tests.soak.load import PARKED, REJECTED, SUCCEEDED, Load, faults, mark_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.soak.load import Asked, NamedRule, Told

# Sent and not ended: more would only wait, and each of the emulator's queue operations looks at all.
_MOST_OPEN = 800
_SHOWN_EVERY_S = 10.0
_STALLED_S = 150.0
# Calls that ended without an answer, after which a request is parked.
_MOST_ATTEMPTS = 5
# So many comments may be lost before one has shown that their markers come back, and what is said of them.
_UNSEEN = 5
_SAYS_UNSEEN = "comments do not come back with their markers"


class Ground(Protocol):
    """Where a soak takes place."""

    # Each simulator's address, by the helpdesk's name.
    helpdesk_urls: Mapping[str, str]
    counts: Counter[str]

    def start(self) -> None:
        """Lets trouble begin."""

    def send(self, asked: Sequence[Asked]) -> list[str]:
        """Sends each request in all its ways, and returns the requests' ids."""

    def send_the_rest(self) -> None:
        """Sends what was put off."""

    def hear(self) -> list[Told]:
        """What was told since the last time."""

    def waiting(self) -> int:
        """How much has been sent and not let go yet."""

    def doubts(self) -> int:
        """Requests that the ledger still holds for unknown."""

    def dead_letters(self) -> Counter[str]:
        """The copies in the dead-letter queue, by their codes."""


@dataclass
class Ended:
    """What was told of one request."""

    kinds: dict[str, Told] = field(default_factory=dict)
    said_unknown: bool = False

    @property
    def final(self) -> Told | None:
        """The outcome; the first, should there be more than one."""
        return next(iter(self.kinds.values()), None)


@dataclass
class Findings:
    """What the soak has found: texts for people, by what is wrong."""

    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Soak:
    """One run: sends, listens until everything has ended, and compares."""

    def __init__(self, ground: Ground, load: Load, total: int, console: Console) -> None:
        self._ground = ground
        self._load = load
        self._total = total
        self._console = console
        self._asked: dict[str, Asked] = {}
        self._ended: defaultdict[str, Ended] = defaultdict(Ended)
        self._open: set[str] = set()
        self._began = time.monotonic()

    def run(self) -> None:
        """Until every request has ended and the queue is empty, or nothing has happened for long."""
        shown = moved = time.monotonic()
        while True:
            now = time.monotonic()
            told = self._ground.hear()
            self._take_in(told)
            room = min(_MOST_OPEN - len(self._open), self._total - len(self._asked), 50)
            if room >= min(10, self._total - len(self._asked)) > 0:
                asked = [self._load.next() for _ in range(room)]
                for request_id, one in zip(self._ground.send(asked), asked, strict=True):
                    self._asked[request_id] = one
                    if not self._ended[request_id].kinds:
                        self._open.add(request_id)
                if len(self._asked) == self._total:
                    self._ground.send_the_rest()
                moved = now
            elif told:
                moved = now
            else:
                if not self._open and len(self._asked) == self._total and not self._ground.waiting():
                    break
                if now - moved > _STALLED_S:
                    self._console.print(
                        f"Nothing has happened for {_STALLED_S:.0f} s: giving up.", style="red"
                    )
                    break
                time.sleep(0.05)
            if now - shown > _SHOWN_EVERY_S:
                shown = now
                self._show()
        self._take_in(self._ground.hear())
        self._show()

    def _take_in(self, told: list[Told]) -> None:
        for one in told:
            ended = self._ended[one.request_id]
            if one.kind not in (SUCCEEDED, REJECTED, PARKED):
                ended.said_unknown = True
                continue
            if not ended.kinds:
                self._open.discard(one.request_id)
                asked = self._asked.get(one.request_id)
                if one.kind == SUCCEEDED and one.ticket_id and asked and asked.operation == "add":
                    self._load.learn(asked.helpdesk, one.ticket_id)
            ended.kinds.setdefault(one.kind, one)

    def _show(self) -> None:
        seconds = time.monotonic() - self._began
        counts = self._ground.counts
        killed = counts["workers killed"]
        done = len(self._asked) - len(self._open)
        click.echo(
            f"{seconds:5.0f} s  sent {len(self._asked):>6,}  ended {done:>6,}  open {len(self._open):>4}"
            f"  in doubt {self._ground.doubts():>4}  workers killed {killed:>4}",
            err=True,
        )

    # ── the comparison ───────────────────────────────────────────────────────────────────────────────────

    def report(self, rules: Mapping[str, list[NamedRule]]) -> bool:
        """Prints what became of everything; whether nothing is wrong."""
        seconds = time.monotonic() - self._began
        tickets = {
            name: [one for one in _control(url, "tickets") if one["title"].startswith("Soak ")]
            for name, url in self._ground.helpdesk_urls.items()
        }
        found = self._compare(tickets)
        unknown = self._ground.doubts()
        letters = self._ground.dead_letters()
        if letters["undelivered"]:
            found.wrong.append(
                f"{letters['undelivered']} messages went to the dead-letter queue by themselves"
            )
        ends = Counter(final.kind for final in self._finals())
        parked = Counter(
            f"{self._asked[final.request_id].helpdesk}: {final.code}"
            for final in self._finals()
            if final.kind == PARKED
        )
        table = Table(title="Soak", show_header=False)
        table.add_column(style="bold")
        table.add_column(justify="right")
        rows: dict[str, Any] = {
            "sent": len(self._asked),
            **{kind: ends[kind] for kind in (SUCCEEDED, REJECTED, PARKED)},
            **{f"  {code}": number for code, number in sorted(parked.items())},
            "said to be unknown first": sum(ended.said_unknown for ended in self._ended.values()),
            **{f"tickets of {name}": len(of_it) for name, of_it in tickets.items()},
            "duplicates": len(found.duplicates),
            "lost": len(found.lost),
            "unknown left": unknown,
            "otherwise wrong": len(found.wrong),
        }
        _add_rows(table, rows)
        _add_rows(table, dict(sorted(self._ground.counts.items())))
        hits = Counter[str]()
        for name, url in self._ground.helpdesk_urls.items():
            for named, armed in zip(rules[name], _control(url, "faults"), strict=True):
                hits[named.name] += armed["hits"]
            calls = Counter(call["operation"] for call in _control(url, "calls"))
            shown = {f"  {call}": of for call, of in calls.most_common()}
            _add_rows(table, {f"calls of {name}": calls.total(), **shown})
        _add_rows(table, {"faulty": hits.total(), **{f"  {name}": of for name, of in hits.most_common()}})
        _add_rows(
            table, {"duration": f"{seconds:.0f} s", "requests a second": f"{len(self._asked) / seconds:.0f}"}
        )
        self._console.print(table)
        for name, texts in vars(found).items():
            for text in texts[:20]:
                self._console.print(f"{name}: {text}", style="red", highlight=False)
        return not (found.lost or found.duplicates or found.wrong or unknown)

    def _finals(self) -> list[Told]:
        finals = [self._ended[request_id].final for request_id in self._asked]
        return [final for final in finals if final is not None]

    def _compare(self, tickets: Mapping[str, list[dict[str, Any]]]) -> Findings:
        found = Findings()
        seen = _Seen.in_tickets(tickets)
        unseen = 0
        for request_id, asked in self._asked.items():
            ended = self._ended[request_id]
            mine = seen.made[mark_of(request_id)[1:]]
            if len(mine) > 1:
                found.duplicates.append(f"{request_id} has made {len(mine)} tickets")
            if seen.said[f"Said once {asked.mark}"] > 1:
                found.duplicates.append(f"{request_id} has written its comment more than once")
            if ended.final is None:
                found.lost.append(f"{request_id} ({asked.operation}) has no final outcome")
            else:
                found.lost += seen.lost(request_id, asked, ended.final)
                unseen += _SAYS_UNSEEN in (ended.final.message or "")
                found.wrong += _wrong(request_id, asked, ended, bool(mine))
        if unseen > _UNSEEN:
            found.wrong.append(f"markers of comments never came back: {unseen} requests were parked for it")
        return found


@dataclass
class _Seen:
    """What the helpdesks' tickets show: by mark, who made them, and who changed and commented them."""

    made: defaultdict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    updated: set[str] = field(default_factory=set)
    said: Counter[str] = field(default_factory=Counter)

    @classmethod
    def in_tickets(cls, tickets: Mapping[str, list[dict[str, Any]]]) -> _Seen:
        seen = cls()
        for name, of_it in tickets.items():
            for ticket in of_it:
                seen.made[ticket["title"].partition("<")[2]].append((name, str(ticket["ticket_id"])))
                seen.updated |= SOAKED[name].marks(ticket)
                seen.said.update(comments_of(ticket))
        return seen

    def lost(self, request_id: str, asked: Asked, final: Told) -> list[str]:
        """What a request is said to have done and has not."""
        if final.kind != SUCCEEDED:
            return []
        mine = self.made[mark_of(request_id)[1:]]
        if asked.operation == "add" and mine != [(asked.helpdesk, final.ticket_id)]:
            return [f"{request_id} succeeded with ticket {final.ticket_id}, but made {mine}"]
        if asked.operation == "update" and asked.mark not in self.updated:
            return [f"{request_id} succeeded, but its update is nowhere"]
        if asked.has_comment and not self.said[f"Said once {asked.mark}"]:
            return [f"{request_id} succeeded, but its comment is nowhere"]
        return []


def _wrong(request_id: str, asked: Asked, ended: Ended, has_ticket: bool) -> list[str]:
    texts: list[str] = []
    if len(ended.kinds) > 1:
        texts.append(f"{request_id} has ended in more than one way: {', '.join(ended.kinds)}")
    for told in ended.kinds.values():
        if told.kind not in asked.may_end:
            texts.append(f"{request_id} ({asked.operation}) was {told.kind}: {told.code}")
        if told.kind == REJECTED and has_ticket:
            texts.append(f"{request_id} was rejected, but made a ticket")
        if told.kind == PARKED and not _rightly_parked(asked, told):
            what = f"{asked.operation} at {asked.helpdesk}, call {told.attempts}"
            texts.append(f"{request_id} ({what}) was parked: {told.code}: {told.message}")
    return texts


def _rightly_parked(asked: Asked, told: Told) -> bool:
    """Not every comment can be looked up, and five calls without an answer are enough."""
    is_unseen = _SAYS_UNSEEN in (told.message or "")
    cannot_be_found = asked.has_comment and (is_unseen or not SOAKED[asked.helpdesk].finds_comments)
    return told.code in ("outcome_unknown", "crashed") and (
        cannot_be_found or told.attempts >= _MOST_ATTEMPTS
    )


def _control(url: str, what: str) -> Any:
    answer = requests.get(f"{url}/_control/{what}", timeout=120)
    answer.raise_for_status()
    return answer.json()


def _arm(url: str, rules: list[NamedRule]) -> None:
    requests.delete(f"{url}/_control/faults", timeout=10).raise_for_status()
    posted = [named.rule.model_dump(mode="json", exclude_defaults=True) for named in rules]
    requests.post(f"{url}/_control/faults", json=posted, timeout=10).raise_for_status()


def _errors_in(log: Path) -> list[str]:
    """The last lines of the functions' log that are neither metrics nor about metrics."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = [
        line for line in lines if not re.match(r'\s*$|\{"_aws"|.*No application metrics|  self\.flush_', line)
    ]
    return told[-20:]


def _add_rows(table: Table, rows: dict[str, Any]) -> None:
    for name, value in rows.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    table.add_section()


_share = click.FloatRange(0, 1)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--requests", "total", type=click.IntRange(1), default=20_000, help="How many requests are made up."
)
@click.option("--faulty", type=_share, default=0.3, help="Share of the helpdesks' calls that go wrong.")
@click.option("--killed", type=_share, default=0.05, help="Share of the invocations that are killed.")
@click.option("--doubled", type=_share, default=0.2, help="Share of requests sent twice, and of batches too.")
@click.option("--seed", type=int, default=1, help="The same seed makes the same requests and faults.")
@click.option("--workers", type=click.IntRange(1, 20), default=4, help="Instances of the queue's consumer.")
@click.option(
    "--stack",
    type=click.Path(exists=True, path_type=Path),
    help="Soak the stack that `bridge up` has started: its state folder, or the stack.json in it.",
)
def soak(
    total: int, faulty: float, killed: float, doubled: float, seed: int, workers: int, stack: Path | None
) -> None:
    """Send thousands of requests into trouble, and count what was lost, doubled or left in doubt.

    The status is 0 only where nothing was.

    On a running stack the functions are those that are deployed, with shorter times while it lasts: about one
    of them is killed every 5 / (10 * KILLED) seconds, and --doubled counts for producers only, since the
    emulator hands out its messages itself.

    \b
    Example:
      python -m tests.soak --requests 2000 --seed 7
      python -m tests.soak --requests 500 --stack .bridge
    """
    if stack:
        state = StateFolder(stack if stack.is_dir() else stack.parent)
        # What an earlier soak has sent, the ledger of the stack still knows.
        load = Load(seed, doubled, f"soak-{seed}-{int(time.time())}")
        rules = _rules(faulty, seed, stack_ground.READ_TIMEOUT_S)
        with stack_ground.stack_ground(state, killed, seed) as on_stack:
            is_sound = _soaked(on_stack, load, total, rules)
    else:
        load = Load(seed, doubled, f"soak-{seed}")
        rules = _rules(faulty, seed, local_ground.READ_TIMEOUT_S)
        kills = local_ground.Kills(killed, doubled, seed)
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            state = StateFolder(Path(folder))
            with local_ground.local_ground(state, workers, kills) as ground:
                is_sound = _soaked(ground, load, total, rules)
                for line in _errors_in(state.log("functions")):
                    click.echo(line, err=True)
    sys.exit(0 if is_sound else 1)


def _rules(share: float, seed: int, read_timeout_s: float) -> dict[str, list[NamedRule]]:
    return {name: faults(desk, share, seed, read_timeout_s) for name, desk in SOAKED.items()}


def _soaked(ground: Ground, load: Load, total: int, rules: Mapping[str, list[NamedRule]]) -> bool:
    for name, url in ground.helpdesk_urls.items():
        _arm(url, rules[name])
    run = Soak(ground, load, total, Console(stderr=True))
    ground.start()
    run.run()
    return run.report(rules)


def main() -> None:
    """Runs the command; errors that a person can put right are shown without a stack trace."""
    try:
        with stop_signals_raise():
            soak(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BridgeError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()
