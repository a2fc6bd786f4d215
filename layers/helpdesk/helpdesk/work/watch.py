"""Polls watched tickets until they are closed, and publishes what has changed."""

import random
import time
from collections.abc import Iterator, Sequence
from copy import replace
from itertools import islice

from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.clients.port import HelpdeskClient
from helpdesk.errors import HelpdeskError, OutcomeUnknownError
from helpdesk.models import Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.watchlist import MOST_PAGES_AT_ONCE, Page, Watched, Watchlist
from helpdesk.work.changes import ChangePublisher, Mark, OvertakenError, state_of
from helpdesk.work.helpdesks import Helpdesks

# So many unreadable pages in a row are the helpdesk's fault, not the pages'.
_MOST_FAILED = 2
# Spreads load.
_random = random.SystemRandom()


class Watch:
    """Polls each ticket about every `each_s` seconds, by calls that live requests leave.

    A page is written back in one write, after its changes are published. So the next run makes up for a run
    that ends in the middle; what was published is recorded for each ticket.
    """

    def __init__(
        self, parts: BaseParts, helpdesks: Helpdesks, watchlist: Watchlist, publisher: ChangePublisher
    ) -> None:
        self._helpdesks = helpdesks
        self._watchlist = watchlist
        self._publisher = publisher
        self._each_s = parts.settings.watch_each_s
        self._watched_s = parts.settings.ledger_days * 86400
        self._most_calls = parts.settings.watch_calls
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock

    def run(self, deadline: float) -> dict[str, int]:
        """How many tickets were polled, how many changes published, how many tickets are watched no more."""
        counts = {"looked": 0, "changed": 0, "dropped": 0}
        for place, helpdesk in enumerate(self._helpdesks.clients.values()):
            now = time.monotonic()
            share = (deadline - now) / (len(self._helpdesks.clients) - place)
            try:
                self._poll_all(helpdesk, counts, now + share)
            except HelpdeskError as error:
                # Tickets that were not polled stay due.
                self._report_later(helpdesk, error)
        self._metrics.add_metric(name="WatchLooked", unit=MetricUnit.Count, value=counts["looked"])
        self._metrics.add_metric(name="WatchChanged", unit=MetricUnit.Count, value=counts["changed"])
        return counts

    def _poll_all(self, helpdesk: HelpdeskClient, counts: dict[str, int], deadline: float) -> None:
        pages = self._watchlist.due(helpdesk.name, self._most_calls * helpdesk.get_limit)
        failed = 0
        for group in islice(_groups(pages, helpdesk.get_limit), self._most_calls):
            if time.monotonic() > deadline or failed == _MOST_FAILED:
                return
            try:
                self._poll(helpdesk, group, counts, deadline)
                failed = 0
            except OutcomeUnknownError as error:
                # An unreadable page must not come before the others each minute.
                failed += 1
                self._report_later(helpdesk, error)
                self._watchlist.replace(helpdesk.name, group, _rows_in(group), self._next_due())

    def _report_later(self, helpdesk: HelpdeskClient, error: HelpdeskError) -> None:
        extra = {"helpdesk": helpdesk.name, "code": error.code}
        self._logger.info("the watch goes on later", extra=extra)

    def _next_due(self) -> float:
        return self._clock() + self._each_s * _random.uniform(0.9, 1.1)

    def _poll(
        self, helpdesk: HelpdeskClient, pages: Sequence[Page], counts: dict[str, int], deadline: float
    ) -> None:
        watched = _rows_in(pages)
        kept, unsettled = self._poll_once(helpdesk, watched, counts, deadline)
        if unsettled:
            # Others publish changes of these at the same time.
            kept |= self._poll_once(helpdesk, unsettled, counts, deadline)[0]
        if self._watchlist.replace(helpdesk.name, pages, list(kept.values()), self._next_due()):
            dropped = [row.ticket_id for row in watched if row.ticket_id not in kept]
            self._watchlist.forget(helpdesk.name, dropped)
            counts["looked"] += len(watched)
            counts["dropped"] += len(dropped)

    def _poll_once(
        self, helpdesk: HelpdeskClient, rows: Sequence[Watched], counts: dict[str, int], deadline: float
    ) -> tuple[dict[str, Watched], list[Watched]]:
        """The rows to keep, by ticket, and those whose tickets have to be polled again."""
        ticket_ids = [row.ticket_id for row in rows]
        before = self._publisher.marks(helpdesk.name, ticket_ids)
        shown = {
            ticket.ticket_id: ticket
            for ticket in self._helpdesks.get_with_spare_budget(helpdesk.name, ticket_ids, deadline)
        }
        kept: dict[str, Watched] = {}
        unsettled: list[Watched] = []
        for old in rows:
            ticket = shown.get(old.ticket_id)
            is_over = self._clock() - old.since > self._watched_s
            # A ticket that is not shown may be shown again: a reply can be incomplete.
            is_closed = ticket is not None and helpdesk.is_closed(ticket)
            row, poll_again = old, False
            if ticket:
                row, poll_again = self._compare(old, ticket, before[old.ticket_id], counts, is_closed)
            if poll_again:
                unsettled.append(row)
            if poll_again or not (is_closed or is_over):
                kept[old.ticket_id] = row
        return kept, unsettled

    def _compare(
        self, old: Watched, ticket: Ticket, before: Mark, counts: dict[str, int], is_closed: bool
    ) -> tuple[Watched, bool]:
        """The row after a poll, and whether the ticket has to be polled again. Publishes a change."""
        state = state_of(ticket)
        row = replace(old, state=state)
        try:
            if not (before.state or old.state or is_closed):
                self._publisher.set_baseline(ticket)
            elif (before.state or old.state) != state or before.pending:
                published = self._publisher.publish_if_changed(ticket, before)
                counts["changed"] += published.request_id is not None
                return row, published.poll_again
        except OvertakenError:
            return old, True
        return row, False


def _rows_in(pages: Sequence[Page]) -> list[Watched]:
    """The rows of some pages; of two rows of one ticket, the one with a state."""
    rows = sorted((row for page in pages for row in page.tickets), key=lambda row: bool(row.state))
    return list({row.ticket_id: row for row in rows}.values())


def _groups(pages: Sequence[Page], most: int) -> Iterator[list[Page]]:
    """Groups of whole pages, the longest due first, each as large as one get."""
    group: list[Page] = []
    size = 0
    for page in sorted(pages, key=lambda page: page.due):
        if group and (size + len(page.tickets) > most or len(group) == MOST_PAGES_AT_ONCE):
            yield group
            group, size = [], 0
        group.append(page)
        size += len(page.tickets)
    if group:
        yield group
