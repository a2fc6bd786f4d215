"""A simulated Socialboards account: tokens, tickets, notes, replies and webhooks, as far as they are known.

Facts are tagged by their source: documented (the vendor's pages and samples) or inferred (our own
conclusion; a client must not depend on it). Undocumented are error codes and statuses, failures of the token
call, and all calls that are known by their title only. What the vendor leaves open is answered strictly, or
as a switch tells, so that a client which relies on luck is found out.
"""

from __future__ import annotations

import argparse
import itertools
import secrets
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aiohttp import web

from bridge.simulators.faults import Answer, ControlError
from bridge.simulators.server import (
    OTHER,
    HelpdeskSimulator,
    ReceivedCall,
    run_in_foreground,
)
from bridge.simulators.socialboards.answers import (
    JsonObject,
    SocialboardsAnswers,
    envelope,
    with_pascal_case_keys,
)
from bridge.simulators.socialboards.calls import ROUTES, Asked, is_known, route_of
from bridge.simulators.socialboards.desk import Desk
from bridge.simulators.socialboards.directory import STAFF, ErrorCode, RefusedError
from bridge.simulators.socialboards.requests import AddNote
from bridge.simulators.socialboards.switches import SocialboardsSwitches
from bridge.simulators.socialboards.tokens import AccessTokens, TokenRefusedError, refresh_token_of
from bridge.simulators.socialboards.webhooks import webhook_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bridge.simulators.socialboards.tickets import Ticket

MINT = "token"
"""The operation of the call that mints an access token."""
_MINT_PATH = "/token"

# Documented: offsets vary from call to call.
_OFFSETS = (0, 1, 3)


class SocialboardsSimulator(HelpdeskSimulator[SocialboardsSwitches]):
    """One Socialboards account on loopback; `token` is its refresh token.

    An access token outlives a change of the refresh token (inferred); `access_tokens.expire()` ends all.
    """

    name = "socialboards"
    operations = (MINT, *(route.operation for route in ROUTES))
    id_paths = frozenset({"data", "data.id", "data.ticketId", "Data", "Data.Id", "Data.TicketId"})

    def __init__(
        self,
        *,
        token: str,
        client_id: str,
        clock: Callable[[], float] = time.time,
        switches: SocialboardsSwitches | None = None,
    ) -> None:
        super().__init__(token=token, switches=switches or SocialboardsSwitches(), clock=clock)
        self.client_id = client_id
        self.access_tokens = AccessTokens(self._now)
        self._desk = Desk(self._now)
        self._offsets = itertools.cycle(_OFFSETS)
        # By the refresh token that followed them, so that they are void once it is changed by hand.
        self._rotated: dict[str, frozenset[str]] = {}

    @property
    def tickets(self) -> list[Ticket]:
        """A copy of the store, oldest first."""
        return self._desk.tickets

    def tickets_as_json(self) -> list[JsonObject]:
        """The store in our own plain form, with `comments` (messages of notes) and `actions` (of changes)."""
        return [
            asdict(ticket) | {"comments": ticket.comments, "actions": ticket.actions}
            for ticket in self.tickets
        ]

    def forget_tickets(self) -> None:
        """Empty the store."""
        self._desk.clear()

    def change_by_hand(self, ticket_id: str, state: str) -> None:
        """Give a ticket another status."""
        with _by_hand():
            self._desk.set_status(int(ticket_id), state)

    def note_by_hand(self, ticket_id: str, message: str) -> None:
        """Write a note."""
        with _by_hand():
            self._desk.add_note(int(ticket_id), AddNote(message=message), STAFF)

    def delete_by_hand(self, ticket_id: str) -> None:
        """Take a ticket away."""
        with _by_hand():
            self._desk.delete(int(ticket_id))

    def copy_by_hand(self, ticket_id: str) -> str:
        """Make the same ticket again."""
        with _by_hand():
            return str(self._desk.copy(int(ticket_id)))

    def reset(self) -> None:
        """Back to the state of the start, without any access token."""
        super().reset()
        self.access_tokens.expire()

    def control_routes(self) -> list[web.RouteDef]:
        """Expiry of access tokens, and webhooks."""

        async def expire(_: web.Request) -> web.Response:
            return web.json_response({"expired": self.access_tokens.expire()})

        return [web.post("/_control/expire", expire), *webhook_routes(self._desk.ticket)]

    def operation_of(self, method: str, path: str) -> str:
        """The path's case counts; whether it does for the vendor is not known."""
        if (method, path) == ("POST", _MINT_PATH):
            return MINT
        found = route_of(method, path)
        return found[0].operation if found else OTHER

    def perform(self, call: ReceivedCall) -> Answer:
        """Do what the call asks and return the true answer."""
        path, _, query = call.path.partition("?")
        if call.operation == MINT:
            return self._token_answer(call)
        found = route_of(call.method, path)
        if found is None or not (found[0].documented or self.switches.unverified_calls == "served"):
            known = found is None and (is_known(path) or path == _MINT_PATH)
            return Answer(status=405 if known else 404, content_type="text/html; charset=utf-8")
        if not self.access_tokens.accepts(call.headers.get("authorization")):
            refused = RefusedError("The access token is missing, wrong or expired", ErrorCode.UNAUTHORIZED)
            return self._failure(refused, status=401, headers={"WWW-Authenticate": "Bearer"})
        route, ids = found
        switches = self.switches
        offset = switches.utc_offset_hours
        asked = Asked(
            desk=self._desk,
            switches=switches,
            answers=SocialboardsAnswers(
                offset_hours=next(self._offsets) if offset == "varying" else offset,
                marker_returned=switches.marker_returned,
                teammate_ids=switches.teammate_ids,
            ),
            now=self.clock(),
            body=call.body,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            **ids,
        )
        try:
            return self._enveloped(envelope(route.answer(asked)))
        except RefusedError as refused:
            return self._failure(refused)

    def _now(self) -> float:
        return self.clock()  # Read anew each time, since the clock may be exchanged.

    def _token_answer(self, call: ReceivedCall) -> Answer:
        try:
            return Answer.of_json(self._minted(call))
        except TokenRefusedError as refused:
            if self.switches.mint_failure == "oauth":
                return Answer.of_json({"error": refused.error, "error_description": refused.description}, 400)
            credentials = refused.error in {"invalid_grant", "invalid_client"}
            code = ErrorCode.UNAUTHORIZED if credentials else ErrorCode.INVALID
            return self._failure(RefusedError(f"{refused.error}: {refused.description}", code))

    def _minted(self, call: ReceivedCall) -> JsonObject:
        switches = self.switches
        presented = refresh_token_of(call.body, call.headers.get("content-type", ""), self.client_id)
        older = self._rotated.get(self.token, frozenset())
        accepted = older | {self.token} if switches.refresh_rotation == "old_accepted" else {self.token}
        if presented not in accepted:
            raise TokenRefusedError("invalid_grant", "Unknown refresh_token")
        if switches.refresh_rotation != "off":
            following = secrets.token_urlsafe(32)
            self._rotated[following] = older | {self.token}
            self.token = following
        return {
            "access_token": self.access_tokens.mint(switches.access_token_life_s),
            "token_type": "bearer",
            "expires_in": switches.access_token_life_s - 1,
            "refresh_token": self.token,
        }

    def _failure(
        self, refused: RefusedError, *, status: int | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        chosen = self.switches.failure_status
        by_switch = refused.code.http_status if chosen == "by_cause" else chosen
        return self._enveloped(envelope(None, refused.code, refused.text), status or by_switch, headers)

    def _enveloped(
        self, content: JsonObject, status: int = 200, headers: dict[str, str] | None = None
    ) -> Answer:
        shown = with_pascal_case_keys(content) if self.switches.pascal_case else content
        return replace(Answer.of_json(shown, status), headers=headers or {})


@contextmanager
def _by_hand() -> Iterator[None]:
    try:
        yield
    except (RefusedError, ValueError) as error:
        raise ControlError([str(error)]) from error


def main() -> None:
    """Serve one account in the foreground."""
    parser = argparse.ArgumentParser(
        prog="python -m bridge.simulators.socialboards.account", description=main.__doc__
    )
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--refresh-token", required=True, help="the refresh token that is accepted")
    parser.add_argument("--client-id", required=True, help="the client id that goes with it")
    parser.add_argument("--ready-file", type=Path, help='gets {"url": ..., "pid": ...} once it listens')
    options = parser.parse_args()
    simulator = SocialboardsSimulator(token=options.refresh_token, client_id=options.client_id)
    run_in_foreground(simulator.app(), port=options.port, ready_file=options.ready_file)


if __name__ == "__main__":
    main()
