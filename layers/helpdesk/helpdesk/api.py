"""The HTTP API: takes requests into the queue, reads tickets, and shows receipts."""

import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
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
from helpdesk.http_answers import (
    MAX_BODY_BYTES,
    PROBLEM_TYPE,
    STATUS_OF_CODE,
    problem_body,
    rejection_body,
    repeat_later,
)
from helpdesk.intake.envelopes import Unwrapped, unwrap
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.kapture_native import neutral
from helpdesk.ledger import Ledger, Receipt, fingerprint
from helpdesk.models import LONGEST_ID, GetRequest, Operation, Outcome, OutcomeKind, Request, queued
from helpdesk.service import TicketService
from helpdesk.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

MAX_WAIT_S = 25
# What an answer needs after the last look at the ledger.
_RESERVE_S = 2.0
_ALLOWED = {
    re.compile(r"^/tickets/?$"): "POST",
    re.compile(r"^/tickets/[^/]+/?$"): "GET, PATCH",
    re.compile(r"^/requests/[^/]+/?$"): "GET",
    re.compile(r"^/openapi\.json/?$"): "GET",
    # Posts go to functions of their own; only what they do not take comes here.
    re.compile(r"^/(forms|callbacks)/[^/]+(/[^/]+)?$"): "POST",
}
_STATES = {"claimed": "in_progress", "released": "waiting"}


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
        document: Path,
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._client = client
        self._settings = settings
        self._logger = logger
        self._metrics = metrics
        self._document = document
        self._deadline = 0.0
        self._path = ""
        self._routes = APIGatewayRestResolver()
        self._routes.post("/tickets")(self._add)
        self._routes.patch("/tickets/<ticket_id>")(self._update)
        self._routes.get("/tickets/<ticket_ids>")(self._get)
        self._routes.get("/requests/<request_id>")(self._receipt)
        self._routes.get(r"/openapi\.json")(self._described)
        self._routes.not_found(self._nothing_here)
        self._routes.exception_handler(HelpdeskError)(self._failed)

    def answer(self, event: Mapping[str, Any], context: Any, deadline: float) -> dict[str, Any]:
        """The answer to one event of API Gateway. `deadline` is a moment of `time.monotonic()`."""
        self._deadline = deadline
        self._count("Calls")
        # Unlike the event's own path, this one is without the base path of a custom domain.
        self._path = "/" + event["pathParameters"]["proxy"]
        # The routes know no characters but those of a path; what came quoted stays so.
        path = quote(self._path, safe="/%", errors="replace")
        return self._routes.resolve({**event, "path": path}, context)

    # ── routes ───────────────────────────────────────────────────────────────────────────────────────────

    def _add(self) -> Response[str]:
        return self._accept(Operation.ADD)

    def _update(self, ticket_id: str) -> Response[str]:
        return self._accept(Operation.UPDATE, unquote(ticket_id))

    def _get(self, ticket_ids: str) -> Response[str]:
        event = self._routes.current_event
        include = event.get_query_string_value("include")
        body = {
            "operation": Operation.GET,
            "helpdesk": event.get_query_string_value("helpdesk") or self._settings.default_helpdesk,
            "ticket_ids": unquote(ticket_ids),
            "include": include.split(",") if include else [],
        }
        request = read_body(body, self._defaults())
        self._service.check(request)
        assert isinstance(request, GetRequest)  # noqa: S101  # the operation above says so
        if "watch" in request.include:
            problem = FieldProblem("include", "watch is for requests in the queue: a GET changes nothing")
            raise RejectedError("invalid_request", "the tickets cannot be watched so", (problem,))
        outcome = self._service.get(request, self._deadline)
        missing = list(outcome.missing)
        if outcome.kind is not OutcomeKind.SUCCEEDED:
            return _problem(404, outcome.code or "", outcome.message or "", missing=missing)
        tickets = [ticket.model_dump(mode="json", exclude_none=True) for ticket in outcome.tickets]
        return _json(200, {"tickets": tickets, "missing": missing})

    def _receipt(self, request_id: str) -> Response[str]:
        wanted = unquote(request_id)
        found = (self._ledger.receipt(helpdesk, wanted) for helpdesk in self._settings.helpdesks)
        receipt = next(filter(None, found), None) if len(wanted) <= LONGEST_ID else None
        if receipt is None:
            detail = "No request of this id has been begun: it may still wait in the queue."
            raise RejectedError("unknown_request", detail)
        return _json(200, _shown(receipt))

    def _described(self) -> Response[str]:
        # Read when asked for: hardly any instance ever is.
        return _answer(200, self._document.read_text(), "application/json")

    def _nothing_here(self, _: Exception) -> Response[str]:
        path = self._routes.current_event.path
        for pattern, allowed in _ALLOWED.items():
            if pattern.match(path):
                detail = f"This path takes {allowed}."
                return _problem(405, "method_not_allowed", detail, {"Allow": allowed})
        return _problem(404, "unknown_path", "Nothing answers at this path.")

    # ── requests into the queue ──────────────────────────────────────────────────────────────────────────

    def _accept(self, operation: Operation, ticket_id: str | None = None) -> Response[str]:
        wait_s, request = self._asked(operation, ticket_id)
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
        if outcome:
            return self._ended(outcome)
        location = self._address("requests", request.request_id)
        shown = {"request_id": request.request_id, "state": "accepted", "receipt": location}
        return _json(202, shown, {"Location": location})

    def _refuse_reuse(self, request: Request) -> None:
        try:
            receipt = self._ledger.receipt(request.helpdesk, request.request_id)
        except UnavailableError:
            # The look only makes the answer earlier: the queue's consumer asks the ledger again.
            return
        if receipt and receipt.fingerprint != fingerprint(request):
            detail = "The request_id (or Idempotency-Key) belongs to another request."
            raise RejectedError("request_id_reused", detail)

    def _enqueue(self, request: Request) -> None:
        try:
            self._client.send_message(
                QueueUrl=self._settings.requests_queue_url,
                MessageBody=queued(request),
                # On a standard queue the group is for fair shares: one source cannot starve the others.
                MessageGroupId=request.source,
            )
        except (ClientError, BotoCoreError) as error:
            detail = "The queue does not take the request; nothing was kept. Repeat later."
            raise UnavailableError("queue_unavailable", detail) from error

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

    # ── reading the call ─────────────────────────────────────────────────────────────────────────────────

    def _asked(self, operation: Operation, ticket_id: str | None) -> tuple[int, Request]:
        """The seconds to wait and the request. Raises RejectedError with all that is wrong with either."""
        wait_s = _wait_s(self._header("Prefer") or "")
        try:
            request = self._request(operation, ticket_id)
        except RejectedError as error:
            if wait_s is not None:
                raise
            code = "invalid_prefer" if error.code == "invalid_request" else error.code
            raise RejectedError(code, error.message, (_WRONG_WAIT, *error.problems)) from error
        if wait_s is None:
            raise RejectedError("invalid_prefer", "the header Prefer is invalid", (_WRONG_WAIT,))
        return wait_s, request

    def _request(self, operation: Operation, ticket_id: str | None) -> Request:
        unwrapped = self._unwrapped()
        given = {name: value for name, value in unwrapped.body.items() if value is not None}
        problems: list[FieldProblem] = []
        if ticket_id is not None:
            if str(given.get("ticket_id", ticket_id)) != ticket_id:
                problems.append(FieldProblem("ticket_id", "differs from the path"))
            given = given | {"ticket_id": ticket_id}
        body = {"operation": operation} | neutral(given)
        if body["operation"] != operation:
            problems.append(FieldProblem("operation", f"must be {operation} at this path"))
        if "operation" in given:
            # Wrong or not: what is meant is known, so the rest can be read.
            body["operation"] = operation
        key = self._idempotency_key()
        if key is not None and str(given.get("request_id", key)) != key:
            problems.append(FieldProblem("Idempotency-Key", "differs from request_id in the body"))
        try:
            request: Request | None = read_body(body, self._defaults(key, unwrapped))
        except RejectedError as error:
            from_header = key is not None and "request_id" not in given
            problems += [
                FieldProblem("Idempotency-Key", found.problem)
                if from_header and found.field == "request_id"
                else found
                for found in error.problems
            ]
            request = self._sound_part(body, error.problems)
        named = {problem.field for problem in problems}
        refused = self._refused_by_helpdesk(request) if request else ()
        problems += [problem for problem in refused if problem.field not in named]
        if problems or request is None:
            raise RejectedError("invalid_request", "the request is invalid", tuple(problems))
        return request

    def _sound_part(self, body: Mapping[str, Any], problems: Iterable[FieldProblem]) -> Request | None:
        """What is left of a request without its wrong fields, so that the helpdesk can check that too."""
        sound = dict(body)
        for problem in problems:
            key, *inner = problem.field.split(".")
            if inner and isinstance(sound.get(key), dict):
                sound[key] = {name: value for name, value in sound[key].items() if name != inner[0]}
            else:
                sound.pop(key, None)
        try:
            return read_body(sound, self._defaults())
        except RejectedError:
            return None

    def _refused_by_helpdesk(self, request: Request) -> tuple[FieldProblem, ...]:
        try:
            self._service.check(request)
        except RejectedError as error:
            return error.problems
        return ()

    def _unwrapped(self) -> Unwrapped:
        event = self._routes.current_event
        try:
            text = event.decoded_body or ""
            size = len(text.encode())
        except ValueError as error:
            problem = FieldProblem("body", "is not UTF-8 text")
            raise RejectedError("not_json", "the body is not UTF-8 text", (problem,)) from error
        if size > MAX_BODY_BYTES:
            problem = FieldProblem("body", f"is larger than {MAX_BODY_BYTES} bytes")
            raise RejectedError("too_large", "the body is too large", (problem,))
        return unwrap(text)

    def _defaults(self, key: str | None = None, unwrapped: Unwrapped | None = None) -> Defaults:
        event_id, source = (unwrapped.event_id, unwrapped.source) if unwrapped else (None, None)
        return Defaults(
            request_id=key if key is not None else event_id or uuid.uuid4().hex,
            source=source or self._settings.default_source,
            helpdesk=self._settings.default_helpdesk,
        )

    def _idempotency_key(self) -> str | None:
        given = self._header("Idempotency-Key")
        # The header's draft standard has it in quotes; most callers leave them out.
        quoted = re.fullmatch(r'"(.*)"', given or "")
        return quoted[1] if quoted else given

    def _header(self, name: str) -> str | None:
        """A header's value in whatever case it was sent; a repeated one's values with commas between."""
        event = self._routes.current_event
        values = event.multi_value_headers.get(name)
        return ", ".join(values) if values else event.headers.get(name)

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────

    def _ended(self, outcome: Outcome) -> Response[str]:
        shown = outcome.event()["data"]
        match outcome.kind:
            case OutcomeKind.SUCCEEDED if outcome.identity.operation is Operation.ADD:
                return _json(201, shown, {"Location": self._ticket_address(outcome)})
            case OutcomeKind.SUCCEEDED:
                return _json(200, shown)
            case OutcomeKind.REJECTED:
                status = STATUS_OF_CODE.get(outcome.code or "", 422)
            case OutcomeKind.UNKNOWN:
                status = 504
            case OutcomeKind.PARKED:
                status = 503
        kept = {key: shown[key] for key in ("request_id", "outcome", "errors") if key in shown}
        return _problem(status, outcome.code or "", outcome.message or outcome.type, **kept)

    def _ticket_address(self, outcome: Outcome) -> str:
        helpdesk = outcome.identity.helpdesk
        query = f"?helpdesk={helpdesk}" if helpdesk != self._settings.default_helpdesk else ""
        return self._address("tickets", outcome.ticket_id or "") + query

    def _address(self, kind: str, name: str) -> str:
        # What stands before our own path: the stage, or a custom domain's base path.
        base = self._routes.current_event.request_context.path.removesuffix(self._path)
        return f"{base}/{kind}/{quote(name, safe='')}"

    def _failed(self, error: HelpdeskError) -> Response[str]:
        cause = type(error.__cause__).__name__ if error.__cause__ else None
        self._logger.warning("call refused", extra={"code": error.code, "cause": cause})
        match error:
            case RejectedError():
                body = rejection_body(error)
                return _answer(body["status"], json.dumps(body), PROBLEM_TYPE)
            case UnavailableError():
                return _problem(503, error.code, error.message, repeat_later(error))
            case OutcomeUnknownError():
                return _problem(504, error.code, error.message)
            case UnauthorizedError():
                self._count("TokenRefused")
        return _problem(502, error.code, error.message)

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


_WRONG_WAIT = FieldProblem("Prefer", f"wait takes whole seconds from 0 to {MAX_WAIT_S}")


def _wait_s(prefer: str) -> int | None:
    """Seconds of the first `wait=N` among the preferences, 0 without one; None where it makes no sense."""
    for preference in prefer.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = re.fullmatch(r'\s*"?([0-9]{1,2})"?\s*', value)
            return int(seconds[1]) if seconds and int(seconds[1]) <= MAX_WAIT_S else None
    return 0


def _shown(receipt: Receipt) -> dict[str, Any]:
    shown: dict[str, Any] = receipt.outcome.event()["data"] if receipt.outcome else {}
    return (
        shown
        | receipt.identity.model_dump(mode="json", exclude_none=True)
        | {
            "state": receipt.outcome.kind if receipt.outcome else _STATES[receipt.state],
            "attempts": receipt.attempts,
            "updated_at": datetime.fromtimestamp(receipt.updated_at, UTC).isoformat(timespec="milliseconds"),
        }
    )


def _json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response[str]:
    return _answer(status, json.dumps(body), "application/json", headers)


def _problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response[str]:
    return _answer(status, json.dumps(problem_body(status, code, detail, **more)), PROBLEM_TYPE, headers)


def _answer(
    status: int, body: str, content_type: str, headers: Mapping[str, str] | None = None
) -> Response[str]:
    return Response(
        status_code=status,
        content_type=content_type,
        body=body,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
