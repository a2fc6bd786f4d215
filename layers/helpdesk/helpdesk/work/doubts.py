"""Resolves doubts: finds out whether a request happened, by looking for its marker."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from helpdesk.clients.markers import OFF, Markers, last_marker, marker_in, oldest_first, own_marker
from helpdesk.clients.port import COMMENT, HelpdeskClient
from helpdesk.errors import HelpdeskError, OutcomeUnknownError, RejectedError, UnavailableError
from helpdesk.models import Operation, Outcome, OutcomeKind, Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.gate import RefusedKey
from helpdesk.store.ledger import MAX_ATTEMPTS, Ledger, Receipt
from helpdesk.work.health import MOST_DOUBTS, probe_closed_gates, record_health
from helpdesk.work.helpdesks import Helpdesks

# By the helpdesk's clock a ticket may be created a little before our call, or after it.
_BEFORE = timedelta(minutes=5)
_AFTER = timedelta(minutes=15)
_DAY = timedelta(days=1)
# A ticket counts as absent after so many times the longest delay seen, at the earliest after a minute.
_SAFE_TIMES = 2
_SAFE_S = 60.0
# Between two lists that are further apart, nobody knows when the ticket began to show.
_APART_S = 120.0
# A ticket created further away from its call than this was made in another zone.
_FITS_S = 1200


class _Day(NamedTuple):
    """A day's tickets, and when their pull began: tickets made later need not be among them."""

    at: float
    tickets: Sequence[Ticket]


@dataclass
class _Run:
    """What one run knows. A day that an earlier run pulled counts with the time of that pull."""

    at: float
    days: dict[date, _Day]
    # Calls that this run may still make.
    calls: int
    # The days as earlier runs pulled them.
    earlier: Mapping[date, _Day] = field(default_factory=dict)
    # After how long a ticket that does not show counts as absent.
    settle_s: float = 0.0
    # What is known of our key for lists, if the helpdesk refuses it.
    pull_key: RefusedKey | None = None
    _owners: dict[object, dict[str | None, Ticket]] = field(default_factory=dict)

    def ticket_of(
        self, marker: str, place: str, shown: Callable[[Ticket, str], str | None] = marker_in
    ) -> Ticket | None:
        """The oldest ticket whose own marker it is: others only quote it."""
        if (shown, place) not in self._owners:
            tickets = [ticket for day in self.days.values() for ticket in day.tickets]
            youngest_first = reversed(oldest_first(tickets))
            self._owners[shown, place] = {shown(ticket, place): ticket for ticket in youngest_first}
        return self._owners[shown, place].get(marker)


class DoubtResolver:
    """Looks doubts up: found, shown to be absent, or parked for a person. It never makes a ticket itself.

    The queue's consumer publishes the result when the request's own record comes back: a request that was
    found has its outcome, a request that was absent is executed again.
    """

    def __init__(self, parts: BaseParts, helpdesks: Helpdesks, ledger: Ledger, markers: Markers) -> None:
        self._helpdesks = helpdesks
        self._ledger = ledger
        self._markers = markers
        self._settle_after_s = parts.settings.settle_after_s
        self._give_up_s = parts.settings.give_up_after_s
        self._most_calls = parts.settings.doubt_calls
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock
        # By helpdesk: a budget may allow fewer calls in a minute than there are days to pull.
        self._days: dict[str, dict[date, _Day]] = {}

    def run(self, deadline: float) -> dict[str, int]:
        """How many requests were found, absent, parked, and still have to wait."""
        probe_closed_gates(self._helpdesks, deadline)
        record_health(self._helpdesks, self._ledger, self._metrics, self._clock)
        counts = {"found": 0, "absent": 0, "parked": 0, "waiting": 0}
        for name, helpdesk in self._helpdesks.clients.items():
            doubts = self._ledger.doubts(name, MOST_DOUBTS)
            if not doubts:
                continue
            run = self._pull_days(helpdesk, doubts, deadline)
            for doubt in doubts:
                searched = all(day in run.days for day in self._days_of(helpdesk, doubt, run.settle_s))
                try:
                    settled = self._settle(helpdesk, doubt, run, deadline)
                except UnavailableError:
                    # The ledger is down, or the request has moved on: left to the next run.
                    settled, searched = "waiting", False
                counts[settled] += 1
                self._logger.info(
                    "doubt looked up",
                    extra={
                        "request_id": doubt.identity.request_id,
                        "operation": doubt.identity.operation,
                        "helpdesk": name,
                        "settled": settled,
                        # Whether the lists that would show the ticket have been read, for people.
                        "searched": searched,
                        "settle_after_s": run.settle_s,
                    },
                )
        return counts

    def _pull_days(self, helpdesk: HelpdeskClient, doubts: Sequence[Receipt], deadline: float) -> _Run:
        # A process that began before the key was changed does not know the markers of newer ones.
        self._markers.reread()
        now = self._clock()
        settle_s = self._settle_s(helpdesk)
        adds = [doubt for doubt in doubts if _is_add(doubt)]
        places = {doubt.marker_field or helpdesk.marker_field for doubt in adds} | {helpdesk.marker_field}
        days = dict.fromkeys(day for doubt in adds for day in self._days_of(helpdesk, doubt, settle_s))
        # For adds about to count as absent the neighbouring days are pulled too: nothing else shows that the
        # helpdesk's zone is another one.
        late = [doubt for doubt in adds if now - doubt.doubtful_since >= settle_s]
        days |= dict.fromkeys(day for doubt in late for day in self._days_around(helpdesk, doubt))
        known = self._days.get(helpdesk.name, {})
        kept = {day: known[day] for day in days if day in known}
        run = _Run(now, kept, self._most_calls, known, settle_s)
        self._days[helpdesk.name] = run.days
        # The day that was pulled longest ago comes first.
        for day in sorted(days, key=lambda day: known[day].at if day in known else 0.0):
            if not run.calls:
                break
            run.calls -= 1
            try:
                pulled = self._helpdesks.pull(helpdesk.name, day, deadline)
            except RejectedError:
                if day <= datetime.fromtimestamp(run.at, helpdesk.zone).date():
                    continue
                # A helpdesk may refuse a day that has not begun: it is empty.
                pulled = []
            except HelpdeskError as error:
                self._logger.warning("pull failed", extra={"helpdesk": helpdesk.name, "code": error.code})
                if isinstance(error, OutcomeUnknownError):
                    # One unreadable day does not hold up the others.
                    continue
                break
            marked = [ticket for ticket in pulled if any(own_marker(ticket, place) for place in places)]
            try:
                self._learn(helpdesk, places, pulled, run.at)
            except UnavailableError as error:
                self._logger.warning("nothing is learnt", extra={"code": error.code})
                # A marker that shows still counts as found, but no marker counts as absent.
                run.days[day] = _Day(0.0, marked)
                continue
            run.days[day] = _Day(now, marked)
        if adds and not all(day in run.days and run.days[day].at == now for day in days):
            run.pull_key = self._helpdesks.gate(helpdesk.name).read().refused.get("pull")
        return run

    def _learn(
        self, helpdesk: HelpdeskClient, places: Collection[str], pulled: Sequence[Ticket], now: float
    ) -> None:
        """Records that lists can be read, which fields give markers back, and whether the zone fits."""
        self._ledger.note_list(helpdesk.name)
        for place in places:
            if place != OFF and any(self._markers.is_ours(marker_in(ticket, place)) for ticket in pulled):
                self._ledger.note_marker(helpdesk.name, place)
        if any(ticket.created_at and ticket.created_at.timestamp() > now + _FITS_S for ticket in pulled):
            self._ledger.note_zone(helpdesk.name, helpdesk.zone, fits=False)

    def _settle_s(self, helpdesk: HelpdeskClient) -> float:
        """After how long a ticket that does not show counts as absent: never before what has been seen."""
        seen_s = self._ledger.longest_delay(helpdesk.name)
        return max(self._settle_after_s, _SAFE_TIMES * seen_s, _SAFE_S if seen_s else 0.0)

    def _learn_delay(self, helpdesk: HelpdeskClient, doubt: Receipt, ticket: Ticket, run: _Run) -> None:
        """Records how late a ticket showed, if an earlier list that was read after its call lacks it."""
        for day, shown in run.days.items():
            before = run.earlier.get(day)
            if ticket not in shown.tickets or before is None or before.at < doubt.doubtful_since:
                continue
            if any(earlier.ticket_id == ticket.ticket_id for earlier in before.tickets):
                continue
            seconds = min(self._clock(), before.at + _APART_S) - doubt.claimed_at
            extra = {"helpdesk": helpdesk.name, "seconds": round(seconds)}
            self._logger.info("a ticket showed late", extra=extra)
            self._ledger.note_delay(helpdesk.name, seconds)

    def _settle(self, helpdesk: HelpdeskClient, doubt: Receipt, run: _Run, deadline: float) -> str:
        if not _is_add(doubt):
            return self._settle_update(helpdesk, doubt, run, deadline)
        ticket = self._ticket_of(helpdesk, doubt, run)
        if ticket:
            if ticket.created_at:
                fits = abs(ticket.created_at.timestamp() - doubt.claimed_at) <= _FITS_S
                self._ledger.note_zone(helpdesk.name, helpdesk.zone, fits=fits)
            self._ledger.finish(doubt.claim, _success_of(doubt, ticket))
            self._learn_delay(helpdesk, doubt, ticket, run)
            return "found"
        # A list that was pulled while the call was under way shows nothing.
        since = doubt.doubtful_since + run.settle_s
        if run.at < since:
            return "waiting"
        age = run.at - doubt.claimed_at
        days = (*self._days_of(helpdesk, doubt, run.settle_s), *self._days_around(helpdesk, doubt))
        is_pulled = all(day in run.days and run.days[day].at >= since for day in days)
        if not is_pulled and run.pull_key and self._is_unusable(helpdesk, run, run.pull_key):
            return self._park(doubt, "the helpdesk refuses our key for pull, so it cannot be looked up")
        if not is_pulled or not self._ledger.zone_fits(helpdesk.name, helpdesk.zone):
            if age < self._give_up_s:
                return "waiting"
            return self._park(doubt, "the helpdesk could not be asked for too long")
        if not self._markers_come_back(helpdesk, doubt):
            return self._park(doubt, "markers do not come back from this helpdesk, so it may exist unseen")
        if doubt.attempts >= MAX_ATTEMPTS:
            return self._park(doubt, "it was tried too often without an answer")
        self._ledger.reopen(doubt, "absent")
        return "absent"

    def _is_unusable(self, helpdesk: HelpdeskClient, run: _Run, key: RefusedKey) -> bool:
        """Whether nobody is likely to mend our key for lists soon.

        A key that was taken before has expired, or is being changed: doubts wait for it.
        """
        if run.at < key.since + run.settle_s or key.code not in ("key_missing", "token_refused"):
            return False
        return key.code == "key_missing" or not (
            self._ledger.list_seen(helpdesk.name)
            # Earlier versions noted markers only, and those come back in lists.
            or self._ledger.marker_seen(helpdesk.name, helpdesk.marker_field)
        )

    def _ticket_of(self, helpdesk: HelpdeskClient, doubt: Receipt, run: _Run) -> Ticket | None:
        if doubt.claim.marker:
            return run.ticket_of(doubt.claim.marker, doubt.marker_field or helpdesk.marker_field)
        return run.ticket_of(self._old_marker_of(helpdesk, doubt), helpdesk.marker_field, own_marker)

    def _old_marker_of(self, helpdesk: HelpdeskClient, doubt: Receipt) -> str:
        """The marker of versions without a key: their items hold none."""
        return self._markers.old_of(helpdesk.name, doubt.identity.request_id)

    def _settle_update(self, helpdesk: HelpdeskClient, doubt: Receipt, run: _Run, deadline: float) -> str:
        steps = doubt.claim.steps
        begun = {step.removesuffix("?") for step in steps if step.endswith("?")} - steps
        ticket_id = doubt.claim.target
        # Without a ticket no call was made. (Items of versions without a key hold neither ticket nor marker.)
        unsent = doubt.claim.marker and not ticket_id
        # Only steps were under way that may be made twice.
        harmless = helpdesk.updates_in_steps and not begun
        if (unsent or harmless) and doubt.attempts < MAX_ATTEMPTS:
            self._ledger.reopen(doubt, "resumed")
            return "absent"
        carries_marker = COMMENT in begun or doubt.marker_field == COMMENT
        if not (begun <= {COMMENT} and carries_marker and ticket_id):
            return self._park(doubt, "whether it was made cannot be looked up")
        if not run.calls:
            return "waiting"
        run.calls -= 1
        try:
            comments = self._helpdesks.comments(helpdesk.name, ticket_id, deadline)
        except HelpdeskError as error:
            self._logger.warning("look-up failed", extra={"helpdesk": helpdesk.name, "code": error.code})
            age = run.at - doubt.claimed_at
            return "waiting" if age < self._give_up_s else self._park(doubt, "could not be asked")
        if comments is None:
            return self._park(doubt, "whether the comment was written cannot be looked up")
        return self._settle_comment(helpdesk, doubt, set(map(last_marker, comments)), run)

    def _settle_comment(
        self, helpdesk: HelpdeskClient, doubt: Receipt, markers: set[str | None], run: _Run
    ) -> str:
        shown = any(map(self._markers.is_ours, markers))
        if shown:
            self._ledger.note_marker(helpdesk.name, COMMENT)
        if (doubt.claim.marker or self._old_marker_of(helpdesk, doubt)) in markers:
            self._ledger.mark(doubt.claim, COMMENT)
            self._ledger.reopen(doubt, "found")
            return "found"
        if run.at - doubt.doubtful_since < run.settle_s:
            return "waiting"
        if not shown and not self._ledger.marker_seen(helpdesk.name, COMMENT):
            return self._park(doubt, "comments do not come back with their markers, so it may stand unseen")
        if doubt.attempts >= MAX_ATTEMPTS:
            return self._park(doubt, "it was tried too often without an answer")
        self._ledger.reopen(doubt, "absent")
        return "absent"

    def _markers_come_back(self, helpdesk: HelpdeskClient, doubt: Receipt) -> bool:
        """Whether a marker missing from its field means that there is no ticket."""
        field = doubt.marker_field or helpdesk.marker_field
        return field != OFF and self._ledger.marker_seen(helpdesk.name, field)

    def _days_of(self, helpdesk: HelpdeskClient, doubt: Receipt, settle_s: float) -> list[date]:
        """The days on which the helpdesk may say that the ticket was made."""
        called = datetime.fromtimestamp(doubt.claimed_at, UTC)
        last = called + max(_AFTER, timedelta(seconds=settle_s))
        first_day, last_day = (at.astimezone(helpdesk.zone).date() for at in (called - _BEFORE, last))
        return [first_day + number * _DAY for number in range((last_day - first_day).days + 1)]

    def _days_around(self, helpdesk: HelpdeskClient, doubt: Receipt) -> list[date]:
        day = datetime.fromtimestamp(doubt.claimed_at, helpdesk.zone).date()
        return [day - _DAY, day, day + _DAY]

    def _park(self, doubt: Receipt, why: str) -> str:
        outcome = Outcome(
            identity=doubt.identity,
            kind=OutcomeKind.PARKED,
            # A request that kills its function keeps that code.
            code="crashed" if doubt.outcome and doubt.outcome.code == "crashed" else "outcome_unknown",
            message=f"it may have happened, and {why}",
            attempts=doubt.attempts,
        )
        self._ledger.finish(doubt.claim, outcome)
        return "parked"


def _is_add(doubt: Receipt) -> bool:
    return doubt.identity.operation is Operation.ADD


def _success_of(doubt: Receipt, ticket: Ticket) -> Outcome:
    return Outcome(
        identity=doubt.identity,
        kind=OutcomeKind.SUCCEEDED,
        ticket_id=ticket.ticket_id,
        ticket_url=ticket.url,
        attempts=doubt.attempts,
    )
