"""Audits a day: compares the ledger with what the helpdesk itself shows.

A day is a day of the helpdesk's own zone. It is audited some hours after its end, since rows show late, and
the day before is pulled again with it. A discrepancy is one of these:

    missing            a ticket that was added shows neither in the pull of its day nor by its id
    not_in_ledger      a ticket ends with a marker of ours that belongs to no request
    added_twice        a ticket has the marker and the title of a request whose ticket is another
    added_though_ended a ticket carries the marker of a request that was rejected or parked
"""

import html
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from itertools import batched

from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.clients.markers import Markers, ends_with_marker, oldest_first, own_marker, without_markers
from helpdesk.clients.port import HelpdeskClient
from helpdesk.errors import HelpdeskError, UnavailableError
from helpdesk.models import Operation, OutcomeKind, Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.runtime.topic import Topic
from helpdesk.store.audits import AuditReport, Audits, Discrepancy, Tally
from helpdesk.store.ledger import Ledger, Receipt
from helpdesk.store.table import Table
from helpdesk.work.helpdesks import Helpdesks

# A day that could not be audited in time is audited up to so many days later.
_DAYS_BACK = 7
_MOST_DISCREPANCIES = 500
_MOST_SOURCES = 200
# How long an alarm shows the discrepancies of an audit.
_SHOWN_S = 86400.0


@dataclass(frozen=True)
class _Carrier:
    """A ticket with a marker of its own; `is_at_end` where the marker stands as we write it."""

    ticket_id: str
    is_at_end: bool


@dataclass
class _Day:
    """One day as the helpdesk shows it, and what the ledger adds."""

    helpdesk: HelpdeskClient
    day: date
    # Ids of its tickets, and how many of these carry a marker of ours.
    shown: set[str]
    ours: int
    # Of the day and the day before: titles by ticket, and tickets by their own marker, the oldest first.
    # Whole tickets would not fit into memory.
    titles: dict[str, str]
    marked: dict[str, list[_Carrier]]
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    not_shown: dict[str, str] = field(default_factory=dict)
    discrepancies: list[Discrepancy] = field(default_factory=list)
    # A request's id, its ticket's id, and the ids of other tickets with its marker.
    doubles: list[tuple[str, str, list[str]]] = field(default_factory=list)


class DailyAudit:
    """Audits the days that are over, publishes each report, and keeps it."""

    def __init__(
        self, parts: BaseParts, table: Table, helpdesks: Helpdesks, ledger: Ledger, markers: Markers
    ) -> None:
        self._helpdesks = helpdesks
        self._ledger = ledger
        self._markers = markers
        self._reports = Audits(table)
        self._topic = Topic(parts.clients.sns, parts.settings.outcomes_topic_arn)
        self._after = timedelta(hours=parts.settings.audit_after_hours)
        self._keep_s = parts.settings.audit_days * 86400
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock

    def run(self, deadline: float) -> dict[str, int]:
        """How many days were audited, how many discrepancies they showed, and how many days still wait."""
        # A process that began before the key was changed does not know the markers of newer ones.
        self._markers.reread()
        days = [day for helpdesk in self._helpdesks.clients.values() for day in self._due(helpdesk, deadline)]
        counts = {"audited": 0, "discrepancies": 0, "waiting": sum(day is None for day in days)}
        pulled = [day for day in days if day is not None]
        if pulled:
            for receipt in self._ledger.all():
                for day in pulled:
                    self._compare(day, receipt)
        for day in pulled:
            try:
                report = self._audit(day, deadline)
            except HelpdeskError as error:
                self._log_waiting(day.helpdesk, day.day, error)
                counts["waiting"] += 1
            else:
                counts["audited"] += 1
                counts["discrepancies"] += report.discrepancy_count
        self._record_state()
        return counts

    def _record_state(self) -> None:
        """For the alarms: the discrepancies of the last 24 hours, and for how long an audit is overdue."""
        discrepancies, late_s, now = 0, 0.0, self._clock()
        for helpdesk in self._helpdesks.clients.values():
            days, begun_at = self._window(helpdesk)
            is_off = self._is_off(helpdesk)
            for day in days:
                report = self._reports.of(helpdesk.name, day.isoformat())
                if report is None and is_off:
                    # The alarm of the key says it already.
                    continue
                if report is None:
                    ended = datetime.combine(day + timedelta(days=1), datetime.min.time(), helpdesk.zone)
                    due = max(ended.timestamp() + self._after.total_seconds(), begun_at)
                    late_s = max(late_s, now - due)
                elif now - datetime.fromisoformat(report.audited_at).timestamp() <= _SHOWN_S:
                    discrepancies += report.discrepancy_count
        self._metrics.add_metric(name="AuditDiscrepancies", unit=MetricUnit.Count, value=discrepancies)
        self._metrics.add_metric(name="AuditLateSeconds", unit=MetricUnit.Seconds, value=late_s)

    def _is_off(self, helpdesk: HelpdeskClient) -> bool:
        """Whether there is no audit, since the helpdesk refuses our key for lists."""
        return "pull" in self._helpdesks.gate(helpdesk.name).read().refused

    # ── one day ──────────────────────────────────────────────────────────────────────────────────────────

    def _due(self, helpdesk: HelpdeskClient, deadline: float) -> Iterator[_Day | None]:
        """The days that are over and not audited yet, as the helpdesk shows them.

        Ends with a None where a day has to wait: the helpdesk is then spared the other days.
        """
        days, _ = self._window(helpdesk)
        for day in days:
            if self._reports.of(helpdesk.name, day.isoformat()):
                continue
            try:
                yield self._pull(helpdesk, day, deadline)
            except HelpdeskError as error:
                self._log_waiting(helpdesk, day, error)
                yield None
                return

    def _window(self, helpdesk: HelpdeskClient) -> tuple[list[date], float]:
        """The days that can be audited, oldest first, and since when days are audited at all.

        A new stack begins with the newest day: it knows nothing of earlier days.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        last = (now - self._after).astimezone(helpdesk.zone).date() - timedelta(days=1)
        first, begun_at = self._reports.begun_at(helpdesk.name, last.isoformat(), self._clock())
        days = [last - timedelta(days=back) for back in reversed(range(_DAYS_BACK))]
        return [day for day in days if day.isoformat() >= first], begun_at

    def _pull(self, helpdesk: HelpdeskClient, day: date, deadline: float) -> _Day:
        before = self._helpdesks.pull(helpdesk.name, day - timedelta(days=1), deadline)
        shown = self._helpdesks.pull(helpdesk.name, day, deadline)
        self._ledger.note_list(helpdesk.name)
        tickets = oldest_first({ticket.ticket_id: ticket for ticket in (*before, *shown)}.values())
        ids = {ticket.ticket_id for ticket in shown}
        marked: dict[str, list[_Carrier]] = defaultdict(list)
        ours = 0
        for ticket in tickets:
            marker = own_marker(ticket, helpdesk.marker_field)
            if marker:
                is_at_end = ends_with_marker(ticket, helpdesk.marker_field)
                marked[marker].append(_Carrier(ticket.ticket_id, is_at_end))
            ours += ticket.ticket_id in ids and self._markers.is_ours(marker)
        titles = {ticket.ticket_id: _title_of(ticket) for ticket in tickets}
        return _Day(helpdesk, day, ids, ours, titles, marked)

    def _compare(self, day: _Day, receipt: Receipt) -> None:
        """Compares the day with one request."""
        identity, outcome = receipt.identity, receipt.outcome
        if identity.helpdesk != day.helpdesk.name:
            return
        is_add = identity.operation is Operation.ADD
        if self._is_of(day, receipt.first_claimed_at):
            _count(day.tallies[identity.source or ""], receipt)
        if not is_add:
            return
        ticket_id = outcome.ticket_id if outcome and outcome.kind is OutcomeKind.SUCCEEDED else None
        if ticket_id and ticket_id not in day.shown and self._is_of(day, receipt.claimed_at):
            day.not_shown[ticket_id] = identity.request_id
        old = self._markers.old_of(day.helpdesk.name, identity.request_id)
        carriers = day.marked.pop(receipt.claim.marker or old, [])
        if carriers and receipt.ended and not ticket_id:
            day.discrepancies.append(
                Discrepancy("added_though_ended", carriers[0].ticket_id, identity.request_id)
            )
            ticket_id = carriers[0].ticket_id
        others = [carrier.ticket_id for carrier in carriers if carrier.ticket_id != ticket_id]
        if ticket_id and others:
            day.doubles.append((identity.request_id, ticket_id, others))

    def _is_of(self, day: _Day, moment: float) -> bool:
        return datetime.fromtimestamp(moment, day.helpdesk.zone).date() == day.day

    def _audit(self, day: _Day, deadline: float) -> AuditReport:
        late = {ticket.ticket_id for ticket in self._get_all(day, day.not_shown, deadline)}
        discrepancies = [
            *day.discrepancies,
            *self._added_twice(day, deadline),
            *(
                Discrepancy("missing", ticket_id, request_id)
                for ticket_id, request_id in day.not_shown.items()
                if ticket_id not in late
            ),
            *(
                Discrepancy("not_in_ledger", carrier.ticket_id)
                for marker, carriers in day.marked.items()
                if self._markers.is_ours(marker)
                for carrier in carriers
                if carrier.is_at_end
            ),
        ]
        # A discrepancy in the report of the day before is not reported again.
        previous = self._reports.of(day.helpdesk.name, (day.day - timedelta(days=1)).isoformat())
        known = set(previous.discrepancies if previous else ())
        new = sorted(set(discrepancies) - known, key=lambda new: (new.what, new.ticket_id))
        report = AuditReport(
            helpdesk=day.helpdesk.name,
            day=day.day.isoformat(),
            sources=_largest(day.tallies),
            shown=len(day.shown),
            ours=day.ours,
            late=len(late),
            discrepancies=tuple(new[:_MOST_DISCREPANCIES]),
            discrepancy_count=len(new),
            audited_at=datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds"),
        )
        if not self._topic.publish_event(report.message()):
            raise UnavailableError("topic_unavailable", "the topic does not take the report")
        # Last: a report that was not published is made again.
        self._reports.keep(report, self._clock() + self._keep_s)
        log = self._logger.info if report.is_clean else self._logger.error
        extra = {"helpdesk": report.helpdesk, "day": report.day}
        log("day audited", extra=extra | {"discrepancies": report.discrepancy_count})
        for discrepancy in report.discrepancies:
            self._logger.error("discrepancy", extra=asdict(discrepancy) | extra)
        return report

    def _added_twice(self, day: _Day, deadline: float) -> Iterator[Discrepancy]:
        """Second tickets of a request. A ticket that only quotes its marker has another title."""
        not_pulled = [ticket_id for _, ticket_id, _ in day.doubles if ticket_id not in day.titles]
        shown = self._get_all(day, not_pulled, deadline)
        titles = day.titles | {ticket.ticket_id: _title_of(ticket) for ticket in shown}
        for request_id, ticket_id, others in day.doubles:
            for other in others:
                if titles.get(ticket_id) in (None, titles[other]):
                    yield Discrepancy("added_twice", other, request_id)

    def _get_all(self, day: _Day, ticket_ids: Iterable[str], deadline: float) -> list[Ticket]:
        return [
            ticket
            for part in batched(ticket_ids, day.helpdesk.get_limit, strict=False)
            for ticket in self._helpdesks.get_with_spare_budget(day.helpdesk.name, part, deadline)
        ]

    def _log_waiting(self, helpdesk: HelpdeskClient, day: date, error: HelpdeskError) -> None:
        extra = {"helpdesk": helpdesk.name, "day": day.isoformat(), "code": error.code}
        is_off = self._is_off(helpdesk)
        self._logger.warning("the audit is off" if is_off else "the audit of a day waits", extra=extra)


def _title_of(ticket: Ticket) -> str:
    return " ".join(html.unescape(without_markers(ticket.title or "")).casefold().split())


def _largest(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    """The largest sources, and the others in one sum: a message holds only so much."""
    by_size = sorted(tallies.items(), key=lambda pair: -pair[1].requests)
    largest = dict(sorted(by_size[:_MOST_SOURCES]))
    rest = by_size[_MOST_SOURCES:]
    if rest:
        sums = {field.name: sum(getattr(tally, field.name) for _, tally in rest) for field in fields(Tally)}
        largest["(others)"] = Tally(**sums)
    return largest


def _count(tally: Tally, receipt: Receipt) -> None:
    tally.requests += 1
    kind = receipt.outcome.kind if receipt.outcome and receipt.ended else None
    match kind:
        case OutcomeKind.SUCCEEDED if receipt.identity.operation is Operation.ADD:
            tally.added += 1
        case OutcomeKind.SUCCEEDED:
            tally.updated += 1
        case OutcomeKind.REJECTED:
            tally.rejected += 1
        case OutcomeKind.PARKED:
            tally.parked += 1
        case _:
            tally.open += 1
