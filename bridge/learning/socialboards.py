"""What is asked of a Socialboards account: token, calls, texts, times, notes, failures."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.learning.run import Given, Once, Questions, UnknownError, fate_of_text, fields_of
from helpdesk.clients.secrets import MintedToken, Secret, refresh_credentials_in
from helpdesk.clients.socialboards.client import Minter, Socialboards
from helpdesk.errors import UnauthorizedError
from helpdesk.models import Changes, NewTicket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.learning.recorder import Exchange
    from bridge.learning.run import Answer, Run
    from bridge.learning.trial_ticket import TrialTicket
    from helpdesk.clients.socialboards.settings import SocialboardsSettings
    from helpdesk.models import Ticket

MOST_CALLS = 80
_WRONG_TOKEN = "wrong-token-of-bridge-learn"  # noqa: S105  # it opens nothing
_NO_TICKET = "1"
_STATUS = "pending"
_NO_STATUS = "tb_unknown"
_NO_SUCH_CALL = (404, 405)
_NUMBERS_OF_IDS = (50, 25, 10)

_KNOWN = """
data errorCode errorText Data ErrorCode ErrorText id title message htmlMessage isHtml author creator name
creationTime customFields status category lockedBy ticketIds take skip from to
access_token token_type expires_in refresh_token error error_description
"""
_WORDS = frozenset({"bearer", "invalid_grant", "invalid_client", "invalid_request", "open", "pending"})


def operation_of(method: str, path: str) -> str:
    """The call, without the id of a ticket and without its query."""
    return f"{method} {re.sub(r'[0-9]+', '{ticket_id}', path.partition('?')[0])}"


class SocialboardsQuestions(Questions["SocialboardsSettings"]):
    names = frozenset(_KNOWN.split())
    words = _WORDS

    def __init__(
        self, run: Run, settings: SocialboardsSettings, secret: str, trial: TrialTicket, *, rate: bool
    ) -> None:
        super().__init__(run, settings, secret, trial, rate=rate)
        # One for the run: each token that is minted may end the one before.
        self._client = self._client_with(secret)

    def points(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "token", self._token
        yield "add", self._add
        yield "shown after", self._show
        yield "marker", self._marker
        yield "escaping", self._escaping
        yield "comment", self._comment
        yield "calls", self._calls
        yield "ids of a get", self._ids
        yield "failures", self._failures
        yield "latency", lambda: self._run.latency(self._client.probe)
        yield "rate", lambda: self._run.rate(self._client.probe if self._rate else None)

    def _client_with(self, secret: str) -> Socialboards:
        given: Any = Given(secret)
        minter = Minter(self._run.recorder, self._settings.token_path)
        token = MintedToken(
            Secret(given, "given", refresh_credentials_in), minter.mint, self._note_renewed, time.monotonic
        )
        return Socialboards(self._run.recorder, token, self._settings)

    def _note_renewed(self) -> None:
        self._run.facts["refresh_token_renewed"] = True

    def _token(self) -> str:
        facts = self._run.facts
        facts["refresh_token_renewed"] = False
        right = self._run.ask(self._client.probe)
        facts["keys.all"] = not isinstance(right.error, UnauthorizedError)
        reply = right.last.reply
        facts["pascal_case"] = isinstance(reply, dict) and "Data" in reply
        wrong = json.dumps({**(fields_of(self._secret) or {}), "refresh_token": _WRONG_TOKEN})
        refused = self._run.ask(self._client_with(wrong).probe)
        facts["failures.wrong_key"] = refused.failure
        is_oauth = isinstance(refused.last.reply, dict) and "error" in refused.last.reply
        facts["mint_failure"] = "oauth" if is_oauth else "envelope"
        opens = "opens the account" if facts["keys.all"] else "is refused"
        renewed = (
            "; another refresh token came: put it into the secret" if facts["refresh_token_renewed"] else ""
        )
        return f"our refresh token {opens}; a wrong one is refused with HTTP {refused.last.status}{renewed}"

    def _add(self) -> str:
        since = self._run.clock()
        ticket = self._trial.ticket
        if self._trial.marker_field not in ("title", "details"):
            ticket = self._client.marked(ticket, self._trial.extra_marker)
        answer = self._run.ask(self._client.add, ticket)
        if answer.error:
            raise UnknownError(f"no ticket was made ({answer.read_as})")
        self._run.tickets.append(answer.value.ticket_id)
        self._made_at = since
        return "a ticket was made"

    def _show(self) -> str:
        ticket_id = self._run.ticket

        def got() -> Ticket | None:
            answer = self._run.ask(self._client.get, [ticket_id], {})
            self._note_missing("get", answer)
            return next(iter(answer.value or []), None)

        def listed() -> Ticket | None:
            day = datetime.fromtimestamp(self._made_at, self._settings.zone).date()
            tickets = self._run.ask(self._client.pull, day).value or []
            return next((ticket for ticket in tickets if ticket.ticket_id == ticket_id), None)

        self._shown = self._run.until_shown({"get": got, "pull": listed}, self._made_at)
        return self._run.shown_in_words()

    def _escaping(self) -> str:
        raws = [ticket.raw for ticket in self._shown.values()]
        fates = {
            name: {fate_of_text(*self._trial.texts[name], raw) for raw in raws}
            for name in ("title", "details")
        }
        self._run.facts |= {f"texts.{name}": sorted(seen) for name, seen in fates.items()}
        return ", ".join(f"{name} {' and '.join(sorted(seen))}" for name, seen in fates.items())

    def _comment(self) -> str:
        text, key = self._trial.texts["comment"]
        ticket_id = self._run.ticket
        written = self._updated(ticket_id, Changes(comment=text))
        self._note_missing("note", written)
        if written.error:
            raise UnknownError(f"no comment could be written ({written.read_as})")
        read = self._run.ask(self._client.comments, ticket_id)
        self._note_missing("notes", read)
        is_readable = fate_of_text(text, key, _parsed(read.value)) in ("same", "escaped")
        self._run.facts["comments_readable"] = is_readable
        return "comments come back" if is_readable else "comments do not come back"

    def _updated(self, ticket_id: str, changes: Changes) -> Answer:
        return self._run.ask(partial(self._client.update, progress=Once()), ticket_id, changes)

    def _calls(self) -> str:
        self._note_missing("status", self._updated(self._run.ticket, Changes(sub_status=_STATUS)))
        missing = self._missing()
        guessed = f"not known at their guessed paths: {', '.join(missing)}; set SocialboardsCalls"
        return guessed if missing else "every guessed path is known"

    def _missing(self) -> list[str]:
        return list(self._run.facts.setdefault("calls.missing", []))

    def _note_missing(self, call: str, answer: Answer) -> None:
        """Notes a guessed path at which something else answers than the helpdesk."""
        missing, first = self._missing(), answer.exchanges[0]
        if _is_no_such_call(first) and call not in missing:
            self._run.facts["calls.missing"] = [*missing, call]

    def _failures(self) -> str:
        facts, client = self._run.facts, self._client
        untitled = self._run.ask(client.add, NewTicket.model_construct(title=""))
        facts["failures.missing_field"] = untitled.failure
        if untitled.error is None:
            self._run.tickets.append(untitled.value.ticket_id)
        unknown = self._run.ask(client.get, [_NO_TICKET], {})
        facts["failures.unknown_id_of_get"] = unknown.failure
        targets = {"unknown_sub_status": (self._run.ticket, _NO_STATUS)}
        # Only where nobody has a ticket of this id is an update of it harmless.
        if not unknown.value:
            targets["unknown_id_of_update"] = (_NO_TICKET, _STATUS)
        for name, (ticket_id, status) in targets.items():
            answer = self._updated(ticket_id, Changes(sub_status=status))
            if not _is_no_such_call(answer.exchanges[0]):
                facts[f"failures.{name}"] = answer.failure
        return self._run.failures_in_words()

    def _ids(self) -> str:
        if not self._shown:
            raise UnknownError("no ticket was seen again")
        if number := self._run.most_ids(self._client.get, _NUMBERS_OF_IDS):
            return f"{number} of the numbers tried"
        raise UnknownError("a list by ids does not show our ticket")


def _is_no_such_call(exchange: Exchange) -> bool:
    """Whether a web server answered, and not the helpdesk."""
    return exchange.status in _NO_SUCH_CALL and not isinstance(exchange.reply, dict)


def _parsed(comments: list[str] | None) -> Any:
    """The notes, which the client gives as JSON."""
    return [json.loads(comment) for comment in comments or []]
