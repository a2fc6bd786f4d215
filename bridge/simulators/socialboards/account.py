"""A simulated Socialboards account: the calls that our client makes, and webhooks, as far as they are known.

Facts are tagged by their source: documented (the vendor's pages and samples) or inferred (our own
conclusion; a client must not depend on it). Undocumented are error codes and statuses, failures of the token
call, and all calls that are known by their title only. What the vendor leaves open is answered strictly, or
as a switch says, so that a client which relies on luck is found out.
"""

from __future__ import annotations

import itertools
import secrets
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from bridge.simulators.faults import Answer, ControlError
from bridge.simulators.server import (
    OTHER,
    HelpdeskSimulator,
    ReceivedCall,
    options_of,
    run_in_foreground,
)
from bridge.simulators.socialboards.answers import (
    JsonObject,
    SocialboardsAnswers,
    envelope,
    with_pascal_case_keys,
)
from bridge.simulators.socialboards.calls import ROUTES, ApiCall, route_of
from bridge.simulators.socialboards.directory import STAFF, ErrorCode, RefusedError
from bridge.simulators.socialboards.store import TicketStore
from bridge.simulators.socialboards.switches import SocialboardsSwitches
from bridge.simulators.socialboards.tokens import AccessTokens, TokenRefusedError, refresh_token_of
from bridge.simulators.socialboards.webhooks import webhook_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import web

    from bridge.simulators.socialboards.tickets import Ticket

MINT = "token"
"""The operation of the call that mints an access token."""
_MINT_PATH = "/token"

_TOKEN_LIFE_S = 3600
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
        self._store = TicketStore(self._now)
        self._offsets = itertools.cycle(_OFFSETS)

    @property
    def tickets(self) -> list[Ticket]:
        return self._store.tickets

    def tickets_as_json(self) -> list[JsonObject]:
        """The store in our own plain form; `comments` are the messages of the notes."""
        return [
            asdict(ticket)
            | {"email": ticket.creator.email, "state": ticket.status, "comments": ticket.comments}
            for ticket in self.tickets
        ]

    def forget_tickets(self) -> None:
        self._store.clear()

    def change_by_hand(self, ticket_id: str, state: str) -> None:
        """Give a ticket another status."""
        with _by_hand():
            self._store.set(int(ticket_id), "status", state)

    def note_by_hand(self, ticket_id: str, message: str) -> None:
        with _by_hand():
            self._store.add_message(int(ticket_id), "note", STAFF, message)

    def delete_by_hand(self, ticket_id: str) -> None:
        with _by_hand():
            self._store.delete(int(ticket_id))

    def copy_by_hand(self, ticket_id: str) -> str:
        with _by_hand():
            return str(self._store.copy(int(ticket_id)).ticket_id)

    def _ticket_by_hand(self, ticket_id: int) -> Ticket:
        with _by_hand():
            return self._store.ticket(ticket_id)

    def reset(self) -> None:
        """Back to the state of the start, without any access token."""
        super().reset()
        self.access_tokens.expire()

    def control_routes(self) -> list[web.RouteDef]:
        return webhook_routes(self._ticket_by_hand)

    def expire_tokens(self) -> int:
        return self.access_tokens.expire()

    def operation_of(self, method: str, path: str) -> str:
        """The path's case counts; whether it does for the vendor is not known."""
        if (method, path) == ("POST", _MINT_PATH):
            return MINT
        match = route_of(method, path)
        return match[0].operation if match else OTHER

    def perform(self, call: ReceivedCall) -> Answer:
        path, _, query = call.path.partition("?")
        if call.operation == MINT:
            return self._token_answer(call)
        match = route_of(call.method, path)
        if match is None or not (match[0].documented or self.switches.unverified_calls == "served"):
            return Answer(status=404, content_type="text/html; charset=utf-8")
        if not self.access_tokens.accepts(call.headers.get("authorization")):
            refused = RefusedError("The access token is missing, wrong or expired", ErrorCode.UNAUTHORIZED)
            return self._failure(refused, status=401, headers={"WWW-Authenticate": "Bearer"})
        route, ticket_id = match
        api_call = ApiCall(
            store=self._store,
            switches=self.switches,
            answers=SocialboardsAnswers(
                offset_hours=next(self._offsets), marker_returned=self.switches.marker_returned
            ),
            now=self.clock(),
            body=call.body,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            ticket_id=ticket_id,
        )
        try:
            return self._enveloped(envelope(route.perform(api_call)))
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
        presented = refresh_token_of(call.body, call.headers.get("content-type", ""), self.client_id)
        if presented != self.token:
            raise TokenRefusedError("invalid_grant", "Unknown refresh_token")
        if self.switches.refresh_rotation != "off":
            self.token = secrets.token_urlsafe(32)
        return {
            "access_token": self.access_tokens.mint(_TOKEN_LIFE_S),
            "token_type": "bearer",
            "expires_in": _TOKEN_LIFE_S - 1,  # Documented: a second less.
            "refresh_token": self.token,
        }

    def _failure(
        self, refused: RefusedError, *, status: int | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        by_cause = refused.code.http_status if self.switches.failure_status == "by_cause" else 200
        return self._enveloped(envelope(None, refused.code, refused.text), status or by_cause, headers)

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
    parser = options_of("python -m bridge.simulators.socialboards.account", SocialboardsSwitches)
    parser.add_argument("--refresh-token", required=True, help="the refresh token that is accepted")
    parser.add_argument("--client-id", required=True, help="the client id that goes with it")
    options = parser.parse_args()
    simulator = SocialboardsSimulator(
        token=options.refresh_token, client_id=options.client_id, switches=options.switches
    )
    run_in_foreground(simulator.app(), port=options.port, ready_file=options.ready_file)


if __name__ == "__main__":
    main()
