"""Takes callbacks of a helpdesk: looks at the ticket that one names, and tells what has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.errors import FieldProblem, HelpdeskError, RejectedError, UnavailableError
from helpdesk.http.calls import Call
from helpdesk.http.gateway import answer, call_in, caller_of, plain_answer, problem_of, unknown_path
from helpdesk.http.shared_secrets import SharedSecrets
from helpdesk.http.signatures import SecretHeader, SecretPath
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import GetRequest, Operation
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.work.changes import ChangePublisher, OvertakenError
from helpdesk.work.helpdesks import Helpdesks

_IN_HEADER = SecretHeader(scheme="header", header="x-callback-secret")
# One look, and again where others were quicker.
_MOST_LOOKS = 3
_IN_PATH = SecretPath(scheme="path")


class Reading(Protocol):
    """How one helpdesk's callbacks are read; a module of its own for each."""

    def ticket_ids_in(self, content_type: str, raw: bytes, /) -> tuple[str, ...]:
        """The tickets that a body names. Raises RejectedError where it cannot be read."""

    def address_check_in(self, query: Mapping[str, str], /) -> tuple[str, str] | None:
        """The token and the challenge of a check of our address; None where the call is none."""


@dataclass(frozen=True)
class Sender:
    """One helpdesk: how it calls back, and the secret that it shares with us."""

    reading: Reading
    secret_id: str


class Callbacks:
    """Answers API Gateway. What a callback says is not believed: the ticket itself is read again."""

    def __init__(
        self,
        parts: BaseParts,
        helpdesks: Helpdesks,
        publisher: ChangePublisher,
        senders: Mapping[str, Sender],
    ) -> None:
        self._helpdesks = helpdesks
        self._publisher = publisher
        self._secrets = SharedSecrets(parts.clients.secretsmanager, parts.clock)
        self._senders = senders
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock

    def answer(self, event: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """The answer to one event of API Gateway. `deadline` is a moment of `time.monotonic()`."""
        helpdesk = str((event.get("pathParameters") or {}).get("helpdesk"))
        sender = self._senders.get(helpdesk)
        if sender is None:
            # Anybody may try any path, so it is neither counted nor logged.
            return problem_of(unknown_path())
        try:
            call = call_in(event)
            self._verify(sender, call)
            if event["httpMethod"] == "GET":
                return self._verify_address(helpdesk, sender, call, event.get("queryStringParameters") or {})
            ticket_ids = _ticket_ids(sender, call)
            published = self._publish_changes(helpdesk, ticket_ids, deadline)
        except HelpdeskError as error:
            self._count("CallbackRefused")
            refused = {"helpdesk": helpdesk, "code": error.code, "caller": caller_of(event)}
            self._logger.warning("callback refused", extra=refused)
            return problem_of(error)
        extra = {"helpdesk": helpdesk, "ticket_id": ",".join(ticket_ids), "changed": bool(published)}
        self._logger.info("callback taken", extra=extra)
        self._count("CallbackTaken")
        named = {"request_id": published[0]} if published else {}
        return answer(200, {"ticket_id": ticket_ids[0], "changed": bool(published), **named})

    def _verify(self, sender: Sender, call: Call) -> None:
        scheme = _IN_PATH if call.path_secret is not None else _IN_HEADER
        why = self._secrets.refusal(scheme, sender.secret_id, call, self._clock())
        if why:
            raise RejectedError(why, "the sender is not verified")

    def _verify_address(
        self, helpdesk: str, sender: Sender, call: Call, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """The challenge of a check of our address. Its token is the secret too, wherever else that stands."""
        check = sender.reading.address_check_in(query)
        if check is None:
            raise unknown_path()
        token, challenge = check
        self._verify(sender, replace(call, path_secret=token))
        self._logger.info("address verified", extra={"helpdesk": helpdesk})
        self._count("CallbackAddressVerified")
        return plain_answer(challenge)

    def _publish_changes(self, helpdesk: str, ticket_ids: Sequence[str], deadline: float) -> list[str]:
        body = {"operation": Operation.GET, "ticket_ids": list(ticket_ids), "include": ["raw"]}
        request = read_body(body, Defaults(f"callback:{ticket_ids[0]}", f"callback/{helpdesk}", helpdesk))
        assert isinstance(request, GetRequest)  # noqa: S101  # the operation above says so
        published: list[str] = []
        for _ in range(_MOST_LOOKS):
            before = self._publisher.marks(helpdesk, ticket_ids)
            # A ticket that the helpdesk no longer shows has no state to tell.
            found = self._helpdesks.get(request, deadline).tickets
            look_again = False
            for ticket in found:
                try:
                    change = self._publisher.publish_if_changed(ticket, before[ticket.ticket_id])
                except OvertakenError:
                    # Another callback or the watch may tell what is newer than this look.
                    look_again = True
                    continue
                published += [change.request_id] if change.request_id else []
                look_again |= change.look_again
            if not look_again:
                return published
        raise UnavailableError("overtaken", "the ticket is told of by others; repeat later", 5)

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def _ticket_ids(sender: Sender, call: Call) -> tuple[str, ...]:
    ticket_ids = sender.reading.ticket_ids_in(call.headers.get("content-type", ""), call.raw)
    if not ticket_ids:
        problem = FieldProblem("body", "names no ticket")
        raise RejectedError("invalid_request", "the callback names no ticket", (problem,))
    return ticket_ids
