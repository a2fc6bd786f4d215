"""The HTTP API: takes requests into the queue, reads tickets, and shows receipts."""

import json
import re
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.intake.envelopes import unwrap
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.ledger import Ledger, Receipt, fingerprint
from helpdesk.models import GetRequest, Operation, Outcome, OutcomeKind, Request
from helpdesk.service import TicketService
from helpdesk.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

# The queue takes 1 MiB a message; the rest is for what is filled in on the way.
MAX_BODY_BYTES = 1_000_000
MAX_WAIT_S = 25
# What an answer needs after the last look at the ledger.
_RESERVE_S = 2.0
_ALLOWED = {
    re.compile(r"^/tickets/?$"): "POST",
    re.compile(r"^/tickets/[^/]+/?$"): "GET, PATCH",
    re.compile(r"^/requests/[^/]+/?$"): "GET",
}
_STATES = {"claimed": "in_progress", "released": "waiting"}


class _ProblemError(Exception):
    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers: dict[str, str] = more.pop("headers", {})
        self.more = more


class TicketApi:
    """Answers API Gateway. Every error is an `application/problem+json` that names all that is wrong."""

    def __init__(
        self,
        service: TicketService,
        ledger: Ledger,
        client: "SQSClient",
        settings: Settings,
        logger: Logger,
        metrics: Metrics,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._client = client
        self._settings = settings
        self._logger = logger
        self._metrics = metrics
        self._deadline = 0.0
        self._routes = APIGatewayRestResolver()
        self._routes.post("/tickets")(self._add)
        self._routes.patch("/tickets/<ticket_id>")(self._update)
        self._routes.get("/tickets/<ticket_ids>")(self._get)
        self._routes.get("/requests/<request_id>")(self._receipt)
        self._routes.not_found(self._nothing_here)
        self._routes.exception_handler(_ProblemError)(_problem)
        self._routes.exception_handler(HelpdeskError)(self._failed)

    def answer(self, event: Mapping[str, Any], context: Any, deadline: float) -> dict[str, Any]:
        """The answer to one event of API Gateway. `deadline` is a moment of `time.monotonic()`."""
        self._deadline = deadline
        self._count("Calls")
        return self._routes.resolve(dict(event), context)

    # ── routes ───────────────────────────────────────────────────────────────────────────────────────────

    def _add(self) -> Response[str]:
        return self._accept(self._body(), Operation.ADD)

    def _update(self, ticket_id: str) -> Response[str]:
        return self._accept(self._body(), Operation.UPDATE, unquote(ticket_id))

    def _get(self, ticket_ids: str) -> Response[str]:
        event = self._routes.current_event
        include = event.get_query_string_value("include")
        request = self._read(
            {
                "operation": Operation.GET,
                "ticket_ids": [one for one in unquote(ticket_ids).split(",") if one],
                "include": include.split(",") if include else [],
            }
        )
        assert isinstance(request, GetRequest)  # noqa: S101  # the operation above says so
        outcome = self._service.get(request, self._deadline)
        if outcome.kind is not OutcomeKind.SUCCEEDED:
            raise _ProblemError(404, outcome.code or "", outcome.message or "", missing=list(outcome.missing))
        tickets = [ticket.model_dump(mode="json", exclude_none=True) for ticket in outcome.tickets]
        return _json(200, {"tickets": tickets, "missing": list(outcome.missing)})

    def _receipt(self, request_id: str) -> Response[str]:
        receipt = self._ledger.receipt(self._settings.default_helpdesk, unquote(request_id))
        if receipt is None:
            detail = "No request of this id has been begun: it may still wait in the queue."
            raise _ProblemError(404, "unknown_request", detail)
        return _json(200, _shown(receipt))

    def _nothing_here(self, _: Exception) -> Response[str]:
        path = self._routes.current_event.path
        for pattern, allowed in _ALLOWED.items():
            if pattern.match(path):
                detail = f"This path takes {allowed}."
                return _problem(_ProblemError(405, "method_not_allowed", detail, headers={"Allow": allowed}))
        return _problem(_ProblemError(404, "unknown_path", "Nothing answers at this path."))

    # ── requests into the queue ──────────────────────────────────────────────────────────────────────────

    def _accept(
        self, body: dict[str, Any], operation: Operation, ticket_id: str | None = None
    ) -> Response[str]:
        wait_s = self._wait_s()
        request = self._read(_routed(body, operation, ticket_id))
        self._service.check(request)
        self._refuse_reuse(request)
        # A request that has ended already is told again by the queue's consumer, without a call.
        self._enqueue(request)
        self._count("Accepted")
        self._logger.info(
            "request accepted",
            extra={
                "request_id": request.request_id,
                "operation": request.operation,
                "helpdesk": request.helpdesk,
                "source": request.source,
            },
        )
        outcome = self._awaited(request, wait_s) if wait_s else None
        return _ended(outcome) if outcome else self._accepted(request)

    def _refuse_reuse(self, request: Request) -> None:
        try:
            receipt = self._ledger.receipt(request.helpdesk, request.request_id)
        except UnavailableError:
            # The look only makes the answer earlier: the queue's consumer asks the ledger again.
            return
        if receipt and receipt.fingerprint != fingerprint(request):
            raise _ProblemError(
                409,
                "request_id_reused",
                "The request_id (or Idempotency-Key) belongs to another request.",
                request_id=request.request_id,
            )

    def _enqueue(self, request: Request) -> None:
        try:
            self._client.send_message(
                QueueUrl=self._settings.requests_queue_url,
                MessageBody=request.model_dump_json(exclude_defaults=True),
                # On a standard queue the group is for fair shares: one source cannot starve the others.
                MessageGroupId=request.source,
            )
        except (ClientError, BotoCoreError) as error:
            detail = "The queue does not take the request; nothing was kept. Repeat later."
            raise _ProblemError(503, "queue_unavailable", detail, headers={"Retry-After": "5"}) from error

    def _awaited(self, request: Request, wait_s: int) -> Outcome | None:
        until = min(time.monotonic() + wait_s, self._deadline - _RESERVE_S)
        pause = 0.1
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, 0.5)
            try:
                outcome = self._ledger.outcome_of(request.helpdesk, request.request_id)
            except UnavailableError:
                return None
            if outcome:
                return outcome
        return None

    def _accepted(self, request: Request) -> Response[str]:
        event = self._routes.current_event
        # What stands before our own path: the stage, or a custom domain's base path.
        base = event.request_context.path.removesuffix(event.path) if event.request_context.path else ""
        location = f"{base}/requests/{quote(request.request_id, safe='')}"
        shown = {"request_id": request.request_id, "state": "accepted", "receipt": location}
        return _json(202, shown, {"Location": location})

    # ── reading the call ─────────────────────────────────────────────────────────────────────────────────

    def _body(self) -> dict[str, Any]:
        event = self._routes.current_event
        try:
            text = (event.decoded_body if event.body else "") or ""
        except ValueError as error:
            problem = FieldProblem("body", "is not UTF-8 text")
            raise RejectedError("not_json", "the body is not UTF-8 text", (problem,)) from error
        if len(text.encode()) > MAX_BODY_BYTES:
            detail = f"The body is larger than {MAX_BODY_BYTES} bytes."
            raise _ProblemError(413, "too_large", detail)
        return unwrap(text).body

    def _read(self, body: Mapping[str, Any]) -> Request:
        return read_body(
            body,
            Defaults(
                request_id=self._idempotency_key(body) or uuid.uuid4().hex,
                source=self._settings.default_source,
                helpdesk=self._settings.default_helpdesk,
            ),
        )

    def _idempotency_key(self, body: Mapping[str, Any]) -> str | None:
        given = self._routes.current_event.headers.get("Idempotency-Key")
        if given is None:
            return None
        key = given.strip().strip('"')
        if body.get("request_id", key) != key:
            problem = FieldProblem("request_id", "differs from the header Idempotency-Key")
            raise RejectedError("invalid_request", "the request is invalid", (problem,))
        return key

    def _wait_s(self) -> int:
        """Seconds to wait for the result, from `Prefer: wait=N`; other preferences are ignored."""
        for preference in (self._routes.current_event.headers.get("Prefer") or "").split(","):
            name, _, value = preference.partition("=")
            if name.strip().lower() == "wait":
                if not re.fullmatch(r"\d{1,2}", value.strip()) or int(value) > MAX_WAIT_S:
                    detail = f"Prefer: wait takes whole seconds from 0 to {MAX_WAIT_S}."
                    problem = {"field": "Prefer", "problem": detail}
                    raise _ProblemError(400, "invalid_prefer", detail, errors=[problem])
                return int(value)
        return 0

    # ── errors ───────────────────────────────────────────────────────────────────────────────────────────

    def _failed(self, error: HelpdeskError) -> Response[str]:
        self._logger.warning("call refused", extra={"code": error.code})
        match error:
            case RejectedError(code="not_json"):
                return _problem(_ProblemError(400, error.code, error.message, errors=_listed(error)))
            case RejectedError():
                return _problem(_ProblemError(422, error.code, error.message, errors=_listed(error)))
            case UnavailableError():
                after = {"Retry-After": str(max(1, round(error.retry_after or 5)))}
                return _problem(_ProblemError(503, error.code, error.message, headers=after))
            case OutcomeUnknownError():
                return _problem(_ProblemError(504, error.code, error.message))
            case UnauthorizedError():
                self._count("TokenRefused")
        return _problem(_ProblemError(502, error.code, error.message))

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def _routed(body: dict[str, Any], operation: Operation, ticket_id: str | None) -> dict[str, Any]:
    """The body with what the route already says of it."""
    known: dict[str, Any] = {"ticket_id": ticket_id} if ticket_id else {}
    if {"ticket", "changes"} & body.keys():
        known["operation"] = operation
    wrong = [
        FieldProblem(key, "differs from the path") for key in known if body.get(key, known[key]) != known[key]
    ]
    if wrong:
        raise RejectedError("invalid_request", "the request is invalid", tuple(wrong))
    return known | body


def _ended(outcome: Outcome) -> Response[str]:
    shown = outcome.event()["data"]
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            return _json(201 if outcome.identity.operation is Operation.ADD else 200, shown)
        case OutcomeKind.REJECTED:
            status = 404 if outcome.code in ("not_found", "unknown_reference") else 422
        case OutcomeKind.UNKNOWN:
            status = 504
        case OutcomeKind.PARKED:
            status = 503
    kept = {key: shown[key] for key in ("request_id", "outcome", "errors") if key in shown}
    return _problem(_ProblemError(status, outcome.code or "", outcome.message or outcome.type, **kept))


def _shown(receipt: Receipt) -> dict[str, Any]:
    shown: dict[str, Any] = receipt.outcome.event()["data"] if receipt.outcome else {}
    shown |= receipt.identity.model_dump(mode="json", exclude_none=True)
    state = receipt.outcome.kind if receipt.outcome else _STATES[receipt.state]
    return shown | {"state": state, "attempts": receipt.attempts}


def _listed(error: RejectedError) -> list[dict[str, str]]:
    return [{"field": problem.field, "problem": problem.problem} for problem in error.problems]


def _json(status: int, body: Mapping[str, Any], headers: dict[str, str] | None = None) -> Response[str]:
    return Response(
        status_code=status,
        content_type="application/json",
        body=json.dumps(body, ensure_ascii=False),
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def _problem(error: _ProblemError) -> Response[str]:
    """RFC 9457, with our stable `code` and what more is known."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        **error.more,
    }
    return Response(
        status_code=error.status,
        content_type="application/problem+json",
        body=json.dumps(body, ensure_ascii=False),
        headers={"Cache-Control": "no-store", **error.headers},
    )
