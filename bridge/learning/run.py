"""One run of questions to an account: each point ends, whatever happens in it."""

from __future__ import annotations

import html
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bridge.learning.facts import Evidence, Point
from bridge.learning.recorder import EndedError, EnoughError, shape
from helpdesk.clients.markers import last_marker
from helpdesk.errors import HelpdeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from bridge.learning.recorder import Exchange, Recorder
    from bridge.learning.trial_ticket import TrialTicket
    from helpdesk.models import Ticket

# How long after its add a ticket is read, in seconds: the time that is found is at most twice the true one.
READ_AFTER_S = (0, 1, 2, 4, 8, 15, 30, 60, 120, 240, 480)
_CALL_S = 20.0
_HARMLESS_CALLS = 10
RATE_CALLS = 20
_RATE_PAUSE_S = 1.0


class Given:
    """As much of a client of Secrets Manager as a helpdesk's client uses: it gives one text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self, **_: str) -> dict[str, str]:
        return {"SecretString": self._text, "VersionId": "given"}


class Once:
    """The progress of an update that is made from its beginning."""

    marker = "tb-of-bridge-learn"

    def is_done(self, _: str) -> bool:
        return False

    def mark_begun(self, _: str) -> None:
        """Nothing is remembered."""

    def mark_done(self, _: str) -> None:
        """Nothing is remembered."""


class UnknownError(Exception):
    """A point cannot be found out; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What our client made of a call, and the exchanges that it took."""

    value: Any
    error: HelpdeskError | None
    exchanges: tuple[Exchange, ...]

    @property
    def read_as(self) -> str:
        """Success, or the error's code."""
        return self.error.code if self.error else "success"

    @property
    def last(self) -> Exchange:
        """The exchange that decided."""
        return self.exchanges[-1]

    @property
    def failure(self) -> dict[str, Any]:
        """The HTTP status, and what our client reads in the answer."""
        return {"status": self.last.status, "read_as": self.read_as}

    def looks_like(self, other: Answer) -> bool:
        """Whether nobody could tell the two answers apart."""
        return (self.last.status, self.last.reply) == (other.last.status, other.last.reply)


class Questions[S]:
    """What is asked of one account, with the secret's text and the settings as its stack has them."""

    # What may stand in the file as it is: names and words of the vendor's own pages.
    names: Collection[str]
    words: Collection[str]

    def __init__(self, run: Run, settings: S, secret: str, trial: TrialTicket, *, rate: bool) -> None:
        self._run = run
        self._settings = settings
        self._secret = secret
        self._trial = trial
        self._rate = rate
        self._made_at = 0.0
        # The test ticket as each way of reading has shown it.
        self._shown: dict[str, Ticket] = {}

    def points(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Each point in the order in which they need each other: a name, and what finds it out."""
        raise NotImplementedError

    def _marker(self) -> str:
        return self._run.markers(self._trial, {way: ticket.raw for way, ticket in self._shown.items()})


class Run:
    """Facts, points and test tickets of one run. `report` gets each point as it ends."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        wait_s: float,
        report: Callable[[str, Point], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.recorder = recorder
        self.clock = clock
        self.sleep = sleep
        self.wait_s = wait_s
        self.facts: dict[str, Any] = {}
        self.points: dict[str, Point] = {}
        self.tickets: list[str] = []
        self._report = report
        self._evidence: list[tuple[Exchange, str]] = []

    def make(self, questions: Questions[Any]) -> None:
        """Every point in its order."""
        for name, find_out in questions.points():
            self._evidence = []
            try:
                state, said = "known", find_out()
            except (UnknownError, EndedError) as error:
                state, said = "unknown", str(error)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                # The helpdesk's answers may have any form.
                state, said = "unknown", f"an answer cannot be read ({type(error).__name__})"
            evidence = tuple(_evidence(*pair, questions) for pair in self._evidence)
            point = Point.model_validate({"state": state, "said": said, "evidence": evidence})
            self.points[name] = point
            self._report(name, point)

    def ask(self, call: Callable[..., Any], *arguments: Any, most: int | None = None) -> Answer:
        """One call of a client, of at most so many exchanges; its deadline comes after the arguments.

        Raises UnknownError where the helpdesk did not answer.
        """
        begun = len(self.recorder.exchanges)
        self.recorder.enough = None if most is None else begun + most
        value, error, read_as = None, None, "not read"
        try:
            value = call(*arguments, time.monotonic() + _CALL_S)
            read_as = "success"
        except HelpdeskError as failure:
            error, read_as = failure, failure.code
        except EnoughError:
            read_as = "success"
        finally:
            self.recorder.enough = None
            made = tuple(self.recorder.exchanges[begun:])
            # The client's verdict is about the last one.
            self._evidence += [(exchange, "read") for exchange in made[:-1]]
            self._evidence += [(exchange, read_as) for exchange in made[-1:]]
        if not made or made[-1].status is None:
            raise UnknownError(f"the helpdesk was not reached: {read_as}")
        return Answer(value, error, made)

    @property
    def ticket(self) -> str:
        """The first test ticket. Raises UnknownError where there is none."""
        if not self.tickets:
            raise UnknownError("there is no test ticket to try it with")
        return self.tickets[0]

    def until_shown(self, reads: Mapping[str, Callable[[], Any]], since: float) -> dict[str, Any]:
        """Reads a ticket again and again until every way shows it, at most `wait_s`.

        The facts `shown_after_s` get the seconds since then, None where a way did not show it.
        """
        shown: dict[str, Any] = {}
        for after_s in (seconds for seconds in READ_AFTER_S if seconds <= self.wait_s):
            if (pause_s := since + after_s - self.clock()) > 0:
                self.sleep(pause_s)
            for way, read in reads.items():
                if way not in shown and (ticket := read()) is not None:
                    shown[way] = ticket
                    self.facts[f"shown_after_s.{way}"] = round(self.clock() - since, 1)
            if shown.keys() == reads.keys():
                break
        self.facts |= {f"shown_after_s.{way}": None for way in reads if way not in shown}
        return shown

    def shown_in_words(self) -> str:
        """After how long each way showed the ticket. Raises UnknownError where none did."""
        times = {way: self.facts[f"shown_after_s.{way}"] for way in ("get", "pull")}
        if not any(isinstance(seconds, float) for seconds in times.values()):
            raise UnknownError(f"neither a get nor a list shows it within {self.wait_s:g} s")
        return "; ".join(
            f"{way}: not within {self.wait_s:g} s" if seconds is None else f"{way}: {seconds:g} s"
            for way, seconds in times.items()
        )

    def most_ids(self, get: Callable[..., Any], numbers: Sequence[int]) -> int | None:
        """The most ids of a get, of these numbers: ours stand first and last among ids that nobody has."""
        mine = self.tickets
        first = mine[:-1][:1]
        for number in numbers:
            ids = [*first, *(str(place) for place in range(1, number - len(first))), mine[-1]]
            answer = self.ask(get, ids, {})
            if {ticket.ticket_id for ticket in answer.value or []} >= {mine[0], mine[-1]}:
                self.facts["get.most_ids"] = number
                return number
            self.facts["failures.too_many_ids"] = answer.failure
        return None

    def markers(self, trial: TrialTicket, raws: Mapping[str, Any]) -> str:
        """How each marker came back in each way."""
        if not raws:
            raise UnknownError("no ticket was seen again")
        fates = {
            f"{field} {way}": (f"marker.{field}.{way}", fate_of_marker(marker, raw))
            for way, raw in raws.items()
            for field, marker in trial.marked.items()
        }
        self.facts |= dict(fates.values())
        return ", ".join(f"{name}: {fate}" for name, (_, fate) in fates.items())

    def failures_in_words(self) -> str:
        """Each failure's HTTP status, and as what our client reads it."""
        failures = {
            name.removeprefix("failures."): failure
            for name, failure in self.facts.items()
            if name.startswith("failures.") and isinstance(failure, dict)
        }
        return "; ".join(
            f"{name.replace('_', ' ')}: HTTP {failure['status']} {failure['read_as']}"
            for name, failure in failures.items()
        )

    def latency(self, harmless: Callable[[float], Any]) -> str:
        """Median and worst of ten harmless calls."""
        seconds = [self.ask(harmless).last.seconds for _ in range(_HARMLESS_CALLS)]
        figures = {"median": round(median(seconds) * 1000), "worst": round(max(seconds) * 1000)}
        self.facts |= {f"latency_ms.{name}": value for name, value in figures.items()}
        return f"ten harmless calls: {figures['median']} ms in the middle, {figures['worst']} ms at worst"

    def rate(self, harmless: Callable[[float], Any] | None) -> str:
        """What headers say of a rate; with a harmless call, after twenty more, at most one a second."""
        if harmless:
            for _ in range(RATE_CALLS):
                self.ask(harmless)
                self.sleep(_RATE_PAUSE_S)
        headers: dict[str, float] = {}
        for exchange in self.recorder.exchanges:
            headers |= exchange.rate
        self.facts |= {f"rate.{name}": value for name, value in headers.items()}
        self.facts["rate.refusals"] = sum(call.status == 429 for call in self.recorder.exchanges)
        stated = ", ".join(f"{name} {value:g}" for name, value in headers.items())
        return f"{len(self.recorder.exchanges)} calls: {stated or 'no header speaks of a rate'}"


def _evidence(exchange: Exchange, read_as: str, questions: Questions[Any]) -> Evidence:
    def shaped(content: Any) -> str:
        return shape(content, questions.names, questions.words)

    seen = "no answer" if exchange.status is None else "no JSON" if exchange.reply is None else None
    return Evidence(
        sent=f"{exchange.operation} {shaped(exchange.request)}",
        status=exchange.status,
        seen=seen or shaped(exchange.reply),
        read_as=read_as,
        milliseconds=round(exchange.seconds * 1000),
    )


def fields_of(secret: str) -> dict[str, Any] | None:
    """What a secret holds; None where it is no object."""
    try:
        fields = json.loads(secret)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


# ── texts that come back ─────────────────────────────────────────────────────────────────────────────────


def texts_in(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from texts_in(inner)


def fate_of_text(sent: str, key: str, content: Any) -> str:
    """How a text that holds `key` came back: same, escaped, changed or absent."""
    shown = [text for text in texts_in(content) if key in text]
    if not shown:
        return "absent"
    if any(_flat(sent) in _flat(text) for text in shown):
        return "same"
    return "escaped" if any(_flat(sent) in _flat(html.unescape(text)) for text in shown) else "changed"


def fate_of_marker(marker: str, content: Any) -> str:
    """How a marker came back: whole, changed (and readable all the same) or absent."""
    texts = list(texts_in(content))
    if any(marker in text for text in texts):
        return "whole"
    return "changed" if any(last_marker(text) == marker for text in texts) else "absent"


def _flat(text: str) -> str:
    return " ".join(text.split())
