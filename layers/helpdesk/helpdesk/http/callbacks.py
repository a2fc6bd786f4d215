"""Takes callbacks of a helpdesk: reads the tickets that a callback names, and publishes what has changed."""

from collections.abc import Mapping, Sequence
from copy import replace
from typing import Any, NamedTuple, Protocol

from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.http.gateway import (
    Call,
    HttpResponse,
    caller_of,
    count,
    path_parameter,
    query_of,
    read_call,
    respond,
    respond_error,
    unknown_path,
)
from helpdesk.http.signatures import SecretHeader, Verification, Verifier
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import GetRequest, Operation, Ticket
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.work.changes import ChangePublisher, OvertakenError
from helpdesk.work.helpdesks import Helpdesks

_IN_HEADER = SecretHeader("x-callback-secret")
# One read, and another each time that somebody else was quicker.
_MOST_READS = 3


class Reading(Protocol):
    """How a helpdesk's callbacks are read; each helpdesk has a module for that."""

    def ticket_ids_in(self, content_type: str, raw: bytes, /) -> tuple[str, ...]:
        """The tickets that a body names. Raises RejectedError where it cannot be read."""

    def address_check_in(self, query: Mapping[str, str], /) -> tuple[str, str] | None:
        """The token and the challenge of a check of our address; None for any other call."""


class Sender(NamedTuple):
    """A helpdesk: how to read its callbacks, and the secret that it shares with us."""

    reading: Reading
    secret_id: str


class Callbacks:
    """Responds to API Gateway. What a callback says is not believed: the ticket itself is read again."""

    def __init__(
        self,
        parts: BaseParts,
        helpdesks: Helpdesks,
        publisher: ChangePublisher,
        senders: Mapping[str, Sender],
    ) -> None:
        self._helpdesks = helpdesks
        self._publisher = publisher
        self._verifier = Verifier(parts.clients.secretsmanager, parts.clock)
        self._senders = senders
        self._logger = parts.logger
        self._metrics = parts.metrics

    def respond(self, event: Mapping[str, Any], deadline: float) -> HttpResponse:
        """The response to one event of API Gateway. `deadline` is a moment of `time.monotonic()`."""
        helpdesk = str(path_parameter(event, "helpdesk"))
        sender = self._senders.get(helpdesk)
        if sender is None:
            # Anybody may try any path, so it is neither counted nor logged.
            return respond_error(unknown_path())
        try:
            call = read_call(event)
            self._verify(sender, call)
            if event["httpMethod"] == "GET":
                return self._verify_address(helpdesk, sender, call, query_of(event))
            ticket_ids = _ticket_ids(sender, call)
            published = self._publish_changes(helpdesk, ticket_ids, deadline)
        except HelpdeskError as error:
            count(self._metrics, "CallbackRefused")
            refused = {"helpdesk": helpdesk, "code": error.code, "caller": caller_of(event)}
            self._logger.warning("callback refused", extra=refused)
            return respond_error(error)
        extra = {"helpdesk": helpdesk, "ticket_id": ",".join(ticket_ids), "changed": bool(published)}
        self._logger.info("callback taken", extra=extra)
        count(self._metrics, "CallbackTaken")
        change = {"request_id": published[0]} if published else {}
        return respond(200, {"ticket_id": ticket_ids[0], "changed": bool(published), **change})

    def _verify(self, sender: Sender, call: Call) -> None:
        scheme: Verification = "path" if call.path_secret is not None else _IN_HEADER
        self._verifier.verify(scheme, sender.secret_id, call)

    def _verify_address(
        self, helpdesk: str, sender: Sender, call: Call, query: Mapping[str, str]
    ) -> HttpResponse:
        """Responds to a check of our address with its challenge. Its token must be the secret as well."""
        check = sender.reading.address_check_in(query)
        if check is None:
            raise unknown_path()
        token, challenge = check
        self._verify(sender, replace(call, path_secret=token))
        self._logger.info("address verified", extra={"helpdesk": helpdesk})
        count(self._metrics, "CallbackAddressVerified")
        headers = {"X-Content-Type-Options": "nosniff"}
        return respond(200, challenge, headers, "text/plain; charset=utf-8")

    def _publish_changes(self, helpdesk: str, ticket_ids: Sequence[str], deadline: float) -> list[str]:
        """The ids of the published changes. Raises UnavailableError where others publish all the time."""
        body = {"operation": Operation.GET, "ticket_ids": list(ticket_ids), "include": ["raw"]}
        request = read_body(body, Defaults(f"callback:{ticket_ids[0]}", f"callback/{helpdesk}", helpdesk))
        assert isinstance(request, GetRequest)  # noqa: S101  # the operation above says so
        published: list[str] = []
        for _ in range(_MOST_READS):
            before = self._publisher.marks(helpdesk, ticket_ids)
            read_again = False
            for ticket in self._read(request, deadline):
                try:
                    change = self._publisher.publish_if_changed(ticket, before[ticket.ticket_id])
                except OvertakenError:
                    # Another callback or the watch may publish a state that is newer than ours.
                    read_again = True
                    continue
                published += [change.request_id] if change.request_id else []
                read_again |= change.poll_again
            if not read_again:
                return published
        raise UnavailableError(
            "overtaken", "other changes of the ticket are being published; repeat later", 5
        )

    def _read(self, request: GetRequest, deadline: float) -> tuple[Ticket, ...]:
        """The tickets that the helpdesk still shows; the others have no state to publish."""
        try:
            return self._helpdesks.get(request, deadline).tickets
        except (UnauthorizedError, OutcomeUnknownError) as error:
            # Whatever fails between us and the helpdesk, its callback may be repeated.
            raise UnavailableError(error.code, error.message) from error


def _ticket_ids(sender: Sender, call: Call) -> tuple[str, ...]:
    ticket_ids = sender.reading.ticket_ids_in(call.headers.get("content-type", ""), call.raw)
    if not ticket_ids:
        problem = FieldProblem("body", "names no ticket")
        raise RejectedError("invalid_request", "the callback names no ticket", (problem,))
    return ticket_ids
