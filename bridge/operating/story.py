"""The story of a request: what the ledger, the functions' logs and operators know of it, in sentences."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from bridge.operating import words
from bridge.operating.log_lines import LogLine, read_lines
from bridge.stacks import target
from helpdesk.errors import FieldProblem, HelpdeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge.operating.interventions import Interventions
    from bridge.operating.words import Outage
    from bridge.stacks.target import Target
    from helpdesk.models import Outcome
    from helpdesk.store.ledger import Ledger, Receipt

# A claim that is given back is in the ledger and, within this time, in the log.
_SAME_WAIT_S = 60.0
_ACCEPTED = {
    "request accepted": "Accepted by the API; it is in the queue.",
    "submission accepted": "Accepted from a form; it is in the queue.",
}


@dataclass(frozen=True)
class Step:
    """One line of a request's story; `at` is in seconds since the epoch."""

    at: float
    text: str


@dataclass(frozen=True)
class Story:
    """Where a request stands and how it came there; `helpdesk` is None where it is not known.

    `state` is one of those that `bridge requests` knows, and empty where nothing says it. `errors` name each
    wrong field. `unread` says what could not be read, so more may have happened.
    """

    helpdesk: str | None
    stands: str
    steps: list[Step]
    errors: tuple[FieldProblem, ...] = ()
    unread: tuple[str, ...] = ()
    state: str = ""


class StoryReader:
    """Reads stories of one stack. `outages` gives the helpdesks that are not called now."""

    def __init__(
        self,
        on: Target,
        ledger: Ledger,
        interventions: Interventions,
        outages: Callable[[], list[Outage]],
    ) -> None:
        self._target = on
        self._ledger = ledger
        self._interventions = interventions
        self._outages = outages

    def read(self, request_id: str) -> Story:
        """The story of a request. A right that is missing makes it shorter, and is named in it.

        Raises HelpdeskError where the ledger cannot be read and the logs know nothing.
        """
        unread: list[str] = []
        lines = self._lines(request_id, unread)
        try:
            receipt = self._ledger.receipt(request_id) or self._ledger.rejection(request_id)
            by_hand = [Step(at, what) for at, what in self._interventions.of(request_id)]
        except HelpdeskError as error:
            if not lines:
                # Nothing can be said of it, and not that nothing is known.
                raise
            unread.append(f"The ledger: {target.words_of(error)}")
            receipt, by_hand = None, []
        known = [line.fields["helpdesk"] for line in lines if line.fields.get("helpdesk")]
        helpdesk = receipt.identity.helpdesk if receipt else known[-1] if known else None
        recorded = _recorded(receipt) if receipt else ()
        steps = [*recorded, *by_hand, *self._logged(lines, helpdesk, receipt)]
        steps = _together(sorted(steps, key=lambda step: step.at))
        stands = self._stands(receipt, lines, helpdesk)
        errors = receipt.outcome.problems if receipt and receipt.outcome else ()
        return Story(helpdesk, stands, steps, errors, tuple(dict.fromkeys(unread)), _state(receipt, lines))

    def _lines(self, request_id: str, unread: list[str]) -> list[LogLine]:
        """The log's lines about a request, the oldest first."""
        lines: list[LogLine] = []
        if "*" in request_id:
            unread.append("The logs: a * in the id would find lines of other requests.")
            return lines
        for function in target.FUNCTIONS:
            try:
                lines += read_lines(self._target, function, request_id=request_id)
            except (BotoCoreError, ClientError) as error:
                unread.append(f"The logs: {target.words_of(error)}")
        return sorted(lines, key=lambda line: line.at)

    def _logged(
        self, lines: Sequence[LogLine], helpdesk: str | None, receipt: Receipt | None
    ) -> Iterator[Step]:
        released = [_entry(entry) for entry in receipt.history if " released " in entry] if receipt else []
        for line in lines:
            code = str(line.fields.get("code"))
            at_helpdesk = line.fields.get("helpdesk") or helpdesk
            match line.message:
                case "request accepted" | "submission accepted":
                    yield Step(line.at, _ACCEPTED[line.message])
                case "request waits" if not any(
                    entry == f"released {code}" and abs(at - line.at) < _SAME_WAIT_S for at, entry in released
                ):
                    yield Step(line.at, f"Waits because {words.reason(code, at_helpdesk)}.")
                case "request ended":
                    yield Step(line.at, words.ended(line.fields.get("outcome"), line.fields.get("code")))
                # What else a look-up can find is in the ledger.
                case "doubt looked up" if line.fields.get("settled") == "waiting":
                    seen = self._markers_seen(receipt)
                    yield Step(line.at, words.searched(line.fields, at_helpdesk, markers_seen=seen))

    def _markers_seen(self, receipt: Receipt | None) -> bool:
        if receipt is None or not receipt.marker_field:
            return False
        return self._ledger.marker_seen(receipt.identity.helpdesk or "", receipt.marker_field)

    def _stands(self, receipt: Receipt | None, lines: Sequence[LogLine], helpdesk: str | None) -> str:
        if receipt and receipt.state == "claimed":
            return f"the call to {words.title(helpdesk)} is under way"
        if receipt and receipt.state == "unknown":
            operation = receipt.identity.operation
            return f"in doubt: {words.may_exist(operation)}; it is looked up each minute"
        if receipt and receipt.ended and receipt.outcome:
            return _ended(receipt.outcome)
        if not lines and receipt is None:
            return "nothing is known of it: it waits in the queue, was never accepted, or is forgotten by now"
        if lines and lines[-1].message == "request ended" and receipt is None:
            outcome, code = (lines[-1].fields.get(name) for name in ("outcome", "code"))
            return f"{outcome}{f' ({code})' if code else ''}; the ledger keeps nothing of it"
        return f"accepted; waits because {self._why_it_waits(receipt, lines, helpdesk)}"

    def _why_it_waits(self, receipt: Receipt | None, lines: Sequence[LogLine], helpdesk: str | None) -> str:
        with suppress(HelpdeskError):
            for outage in self._outages():
                if helpdesk in (None, outage.helpdesk):
                    return outage.short
        last = receipt.history[-1].split(" ")[1:] if receipt and receipt.history else []
        if last[:1] == ["released"]:
            return words.reason(last[-1], helpdesk)
        if last[:1] == ["freed"]:
            return "its next try has not begun"
        codes = [str(line.fields.get("code")) for line in lines if line.message == "request waits"]
        return words.reason(codes[-1], helpdesk) if codes else "its first try has not begun"


def _state(receipt: Receipt | None, lines: Sequence[LogLine]) -> str:
    if receipt:
        return words.state_of(receipt)
    if lines and lines[-1].message == "request ended":
        return str(lines[-1].fields.get("outcome"))
    return "waiting" if lines else ""


def _ended(outcome: Outcome) -> str:
    where = f", ticket {outcome.ticket_id} {outcome.ticket_url or ''}" if outcome.ticket_id else ""
    why = f" ({outcome.code}: {outcome.message})" if outcome.code else ""
    return f"{outcome.kind}{where}{why}".rstrip()


def _entry(entry: str) -> tuple[float, str]:
    at, _, what = entry.partition(" ")
    return float(at), what


def _recorded(receipt: Receipt) -> Iterator[Step]:
    """The ledger's own history, in sentences."""
    identity, before = receipt.identity, ""
    # That a doubt was published is in the log's lines as well.
    entries = [(at, entry) for at, entry in map(_entry, receipt.history) if entry != "told"]
    for (at, entry), (_, after) in zip_longest(entries, entries[1:], fillvalue=(0.0, "")):
        # Of what was taken up and given back the ledger does not know whether a call was tried in between.
        if not (entry == "claimed" and after.startswith("released")):
            yield Step(at, words.step(entry, identity.helpdesk, identity.operation, before))
        before = entry.partition(" ")[0]


def _together(steps: Sequence[Step]) -> list[Step]:
    """The steps; what happens again and again in a row is said once."""
    joined: list[Step] = []
    for text, group in groupby(steps, key=lambda step: step.text):
        first, *more = group
        often = f" ({len(more) + 1} times, until {words.near_time(more[-1].at)})." if more else ""
        joined.append(Step(first.at, text.rstrip(".") + often if often else text))
    return joined
