"""Takes callbacks of a helpdesk: looks at the ticket that one names, and tells what has changed."""

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from helpdesk.changes import ChangeTeller
from helpdesk.errors import FieldProblem, HelpdeskError, RejectedError
from helpdesk.http_answers import answer, call_in, problem_of
from helpdesk.intake.bodies import read_fields, read_json
from helpdesk.intake.calls import Call
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.intake.shared_secrets import SharedSecrets
from helpdesk.intake.signatures import SecretHeader, SecretPath, refusal
from helpdesk.models import GetRequest, Operation
from helpdesk.service import TicketService

_IN_HEADER = SecretHeader(scheme="header", header="x-callback-secret")
_IN_PATH = SecretPath(scheme="path")


class Callbacks:
    """Answers API Gateway. What a callback says is not believed: the ticket itself is read again."""

    def __init__(
        self,
        service: TicketService,
        teller: ChangeTeller,
        secrets: SharedSecrets,
        secret_ids: Mapping[str, str],
        ticket_id_in: Mapping[str, Callable[[Any], str | None]],
        logger: Logger,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._service = service
        self._teller = teller
        self._secrets = secrets
        self._secret_ids = secret_ids
        self._ticket_id_in = ticket_id_in
        self._logger = logger
        self._metrics = metrics
        self._clock = clock

    def answer(self, event: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """The answer to one event of API Gateway. `deadline` is a moment of `time.monotonic()`."""
        helpdesk = str((event.get("pathParameters") or {}).get("helpdesk"))
        try:
            if helpdesk not in self._secret_ids:
                raise RejectedError("unknown_path", "Nothing answers at this path.")
            call = call_in(event)
            self._verify(helpdesk, call)
            ticket_id = self._ticket_id(helpdesk, call)
            told = self._tell(helpdesk, ticket_id, deadline)
        except HelpdeskError as error:
            self._count("CallbackRefused")
            self._logger.warning("callback refused", extra={"code": error.code})
            return problem_of(error)
        extra = {"helpdesk": helpdesk, "ticket_id": ticket_id, "changed": bool(told)}
        self._logger.info("callback taken", extra=extra)
        self._count("CallbackTaken")
        named = {"request_id": told} if told else {}
        return answer(200, {"ticket_id": ticket_id, "changed": bool(told), **named})

    def _verify(self, helpdesk: str, call: Call) -> None:
        secret_id = self._secret_ids[helpdesk]
        scheme = _IN_PATH if call.path_secret is not None else _IN_HEADER
        secrets = self._secrets.current(secret_id)
        why = refusal(scheme, secrets, call, self._clock())
        if why == "wrong_secret" and (newer := self._secrets.newer(secret_id, secrets)):
            why = refusal(scheme, newer, call, self._clock())
        if why:
            raise RejectedError(why, "the sender is not verified")

    def _ticket_id(self, helpdesk: str, call: Call) -> str:
        content_type = call.headers.get("content-type", "")
        is_form = content_type.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))
        body = read_fields(content_type, call.raw) if is_form else read_json(call.raw)
        ticket_id = self._ticket_id_in[helpdesk](body)
        if ticket_id is None:
            problem = FieldProblem("body", "names no ticket")
            raise RejectedError("invalid_request", "the callback names no ticket", (problem,))
        return ticket_id

    def _tell(self, helpdesk: str, ticket_id: str, deadline: float) -> str | None:
        body = {"operation": Operation.GET, "ticket_ids": [ticket_id]}
        request = read_body(body, Defaults(f"callback:{ticket_id}", f"callback/{helpdesk}", helpdesk))
        assert isinstance(request, GetRequest)  # noqa: S101  # the operation above says so
        found = self._service.get(request, deadline).tickets
        # A ticket that the helpdesk no longer shows has no state to tell.
        return self._teller.tell(found[0]) if found else None

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)
