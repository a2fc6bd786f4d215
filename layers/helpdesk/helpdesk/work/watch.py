"""Watches tickets until they are closed, and tells what has changed."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.errors import HelpdeskError, OutcomeUnknownError
from helpdesk.models import Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.watchlist import MOST_PAGES_AT_ONCE, Page, Watched, Watchlist
from helpdesk.work.changes import ChangeTeller, Mark, OvertakenError, state_of
from helpdesk.work.helpdesks import Desks, Helpdesk

# So many pages in a row that cannot be read are the helpdesk's trouble, and not theirs.
_MOST_FAILED = 2
# Spreads load.
_random = random.SystemRandom()


class Watch:
    """Looks at each ticket about every `each_s` seconds, by calls that live requests leave.

    A page is written back after its changes have been told, all at once: a run that ends in the middle is
    made up for by the next, and what was told is remembered for each ticket.
    """

    def __init__(self, parts: BaseParts, desks: Desks, watchlist: Watchlist, teller: ChangeTeller) -> None:
        self._desks = desks
        self._watchlist = watchlist
        self._teller = teller
        self._each_s = parts.settings.watch_each_s
        self._watched_s = parts.settings.ledger_days * 86400
        self._most_calls = parts.settings.watch_calls
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock

    def run(self, deadline: float) -> dict[str, int]:
        """How many tickets were looked at, how many changes told, how many tickets are watched no more."""
        counts = {"looked": 0, "changed": 0, "dropped": 0}
        for place, helpdesk in enumerate(self._desks.clients.values()):
            now = time.monotonic()
            share = (deadline - now) / (len(self._desks.clients) - place)
            try:
                self._look_at_all(helpdesk, counts, now + share)
            except HelpdeskError as error:
                # What was not looked at stays due.
                self._tell_later(helpdesk, error)
        self._metrics.add_metric(name="WatchLooked", unit=MetricUnit.Count, value=counts["looked"])
        self._metrics.add_metric(name="WatchChanged", unit=MetricUnit.Count, value=counts["changed"])
        return counts

    def _look_at_all(self, helpdesk: Helpdesk, counts: dict[str, int], deadline: float) -> None:
        pages = self._watchlist.due(helpdesk.name, self._most_calls * helpdesk.get_limit)
        failed = 0
        for group in islice(_groups(pages, helpdesk.get_limit), self._most_calls):
            if time.monotonic() > deadline or failed == _MOST_FAILED:
                return
            try:
                self._look(helpdesk, group, counts, deadline)
                failed = 0
            except OutcomeUnknownError as error:
                # A page of which nothing can be learnt must not stand before the others each minute.
                failed += 1
                self._tell_later(helpdesk, error)
                self._watchlist.replace(helpdesk.name, group, _watched(group), self._next_due())

    def _tell_later(self, helpdesk: Helpdesk, error: HelpdeskError) -> None:
        extra = {"helpdesk": helpdesk.name, "code": error.code}
        self._logger.info("the watch goes on later", extra=extra)

    def _next_due(self) -> float:
        return self._clock() + self._each_s * _random.uniform(0.9, 1.1)

    def _look(
        self, helpdesk: Helpdesk, pages: Sequence[Page], counts: dict[str, int], deadline: float
    ) -> None:
        watched = _watched(pages)
        kept, unsettled = self._look_once(helpdesk, watched, counts, deadline)
        if unsettled:
            # Others tell of these at the same time.
            kept |= self._look_once(helpdesk, unsettled, counts, deadline)[0]
        if self._watchlist.replace(helpdesk.name, pages, list(kept.values()), self._next_due()):
            dropped = [one.ticket_id for one in watched if one.ticket_id not in kept]
            self._watchlist.forget(helpdesk.name, dropped)
            counts["looked"] += len(watched)
            counts["dropped"] += len(dropped)

    def _look_once(
        self, helpdesk: Helpdesk, rows: Sequence[Watched], counts: dict[str, int], deadline: float
    ) -> tuple[dict[str, Watched], list[Watched]]:
        """The rows to keep, by ticket, and those whose tickets have to be looked at again."""
        ticket_ids = [one.ticket_id for one in rows]
        before = self._teller.marks(helpdesk.name, ticket_ids)
        shown = {ticket.ticket_id: ticket for ticket in self._desks.look(helpdesk.name, ticket_ids, deadline)}
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
                self._teller.begin(ticket)
            elif (before.state or one.state) != state or before.pending:
                told = self._teller.tell(ticket, before)
                counts["changed"] += told.request_id is not None
                return row, told.look_again
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
