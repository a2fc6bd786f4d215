"""Watches tickets until they are closed, and tells what has changed."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.clients.port import HelpdeskClient
from helpdesk.errors import HelpdeskError, OutcomeUnknownError
from helpdesk.models import Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.watchlist import MOST_PAGES_AT_ONCE, Page, Watched, Watchlist
from helpdesk.work.changes import ChangePublisher, Mark, OvertakenError, state_of
from helpdesk.work.helpdesks import Helpdesks

# So many pages in a row that cannot be read are the helpdesk's trouble, and not theirs.
_MOST_FAILED = 2
# Spreads load.
_random = random.SystemRandom()


class Watch:
    """Looks at each ticket about every `each_s` seconds, by calls that live requests leave.

    A page is written back after its changes have been told, all at once: a run that ends in the middle is
    made up for by the next, and what was told is remembered for each ticket.
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
        """How many tickets were looked at, how many changes told, how many tickets are watched no more."""
        counts = {"looked": 0, "changed": 0, "dropped": 0}
        for place, helpdesk in enumerate(self._helpdesks.clients.values()):
            now = time.monotonic()
            share = (deadline - now) / (len(self._helpdesks.clients) - place)
            try:
                self._poll_all(helpdesk, counts, now + share)
            except HelpdeskError as error:
                # What was not looked at stays due.
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
                # A page of which nothing can be learnt must not stand before the others each minute.
                failed += 1
                self._report_later(helpdesk, error)
                self._watchlist.replace(helpdesk.name, group, _watched(group), self._next_due())

    def _report_later(self, helpdesk: HelpdeskClient, error: HelpdeskError) -> None:
        extra = {"helpdesk": helpdesk.name, "code": error.code}
        self._logger.info("the watch goes on later", extra=extra)

    def _next_due(self) -> float:
        return self._clock() + self._each_s * _random.uniform(0.9, 1.1)

    def _poll(
        self, helpdesk: HelpdeskClient, pages: Sequence[Page], counts: dict[str, int], deadline: float
    ) -> None:
        watched = _watched(pages)
        kept, unsettled = self._poll_once(helpdesk, watched, counts, deadline)
        if unsettled:
            # Others tell of these at the same time.
            kept |= self._poll_once(helpdesk, unsettled, counts, deadline)[0]
        if self._watchlist.replace(helpdesk.name, pages, list(kept.values()), self._next_due()):
            dropped = [one.ticket_id for one in watched if one.ticket_id not in kept]
            self._watchlist.forget(helpdesk.name, dropped)
            counts["looked"] += len(watched)
            counts["dropped"] += len(dropped)

    def _poll_once(
        self, helpdesk: HelpdeskClient, rows: Sequence[Watched], counts: dict[str, int], deadline: float
    ) -> tuple[dict[str, Watched], list[Watched]]:
        """The rows to keep, by ticket, and those whose tickets have to be looked at again."""
        ticket_ids = [one.ticket_id for one in rows]
        before = self._publisher.marks(helpdesk.name, ticket_ids)
        shown = {
            ticket.ticket_id: ticket
            for ticket in self._helpdesks.get_with_spare_budget(helpdesk.name, ticket_ids, deadline)
        }
        kept: dict[str, Watched] = {}
        unsettled: list[Watched] = []
        for one in rows:
            ticket = shown.get(one.ticket_id)
            is_over = self._clock() - one.since > self._watched_s
            # A ticket that is not shown may be shown again: an answer can be short.
            is_closed = ticket is not None and helpdesk.is_closed(ticket)
            row, look_again = one, False
            if ticket:
                row, look_again = self._compared(one, ticket, before[one.ticket_id], counts, is_closed)
            if look_again:
                unsettled.append(row)
            if look_again or not (is_closed or is_over):
                kept[one.ticket_id] = row
        return kept, unsettled

    def _compared(
        self, one: Watched, ticket: Ticket, before: Mark, counts: dict[str, int], is_closed: bool
    ) -> tuple[Watched, bool]:
        """The row as it stands after a look, and whether the ticket has to be looked at again."""
        state = state_of(ticket)
        row = replace(one, state=state)
        try:
            if not (before.state or one.state or is_closed):
                self._publisher.set_baseline(ticket)
            elif (before.state or one.state) != state or before.pending:
                published = self._publisher.publish_if_changed(ticket, before)
                counts["changed"] += published.request_id is not None
                return row, published.look_again
        except OvertakenError:
            return one, True
        return row, False


def _watched(pages: Sequence[Page]) -> list[Watched]:
    """The tickets of some pages; one that stands in two, as the page says that knows its state."""
    known = sorted((one for page in pages for one in page.tickets), key=lambda one: bool(one.state))
    return list({one.ticket_id: one for one in known}.values())


def _groups(pages: Sequence[Page], most: int) -> Iterator[list[Page]]:
    """Whole pages, the longest due first, as many as one get asks for."""
    group: list[Page] = []
    size = 0
    for page in sorted(pages, key=lambda page: float(page.due)):
        if group and (size + len(page.tickets) > most or len(group) == MOST_PAGES_AT_ONCE):
            yield group
            group, size = [], 0
        group.append(page)
        size += len(page.tickets)
    if group:
        yield group
