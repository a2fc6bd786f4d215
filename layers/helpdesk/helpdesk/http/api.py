"""The HTTP API: takes requests into the queue, reads tickets, and shows receipts."""

import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.http.gateway import (
    MAX_BODY_BYTES,
    STATUS_OF_CODE,
    HttpResponse,
    body_of,
    cause_of,
    count,
    enqueue,
    query_of,
    respond,
    respond_error,
    respond_problem,
    unknown_path,
)
from helpdesk.intake.envelopes import Unwrapped, unwrap
from helpdesk.intake.kapture_spelling import to_neutral
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import LONGEST_ID, GetRequest, Operation, Outcome, OutcomeKind, Request, queued
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.ledger import Ledger, Receipt, fingerprint
from helpdesk.work.helpdesks import Helpdesks

MAX_WAIT_S = 25
# What a response needs after the last read of the ledger.
_RESERVE_S = 2.0
# Functions of their own have these paths; only the methods that they do not take come here.
_FOREIGN_METHODS = {"forms": ("POST",), "callbacks": ("GET", "POST")}
_FOREIGN = re.compile(r"/(forms|callbacks)/[^/]+(/[^/]+)?/*")
_STATES = {"claimed": "in_progress", "released": "waiting"}
_UNKNOWN_REQUEST = (
    "Nothing is known of this id. Either a request was accepted and has not been taken up yet,"
    " for example while its helpdesk is closed, or it was a successful get,"
    " or it came longer ago than receipts are kept."
)


@dataclass(frozen=True)
class _Call:
    """One call: `path` is quoted, and without the base path of a custom domain."""

    event: Mapping[str, Any] = field(repr=False)
    path: str
    deadline: float

    def header(self, name: str) -> str | None:
        """A header's value in whatever case it was sent; a repeated header's values, joined by commas."""
        headers: Mapping[str, list[str]] = self.event.get("multiValueHeaders") or {}
        values = [value for sent, values in headers.items() if sent.lower() == name for value in values]
        return ", ".join(values) if values else None


class TicketApi:
    """Responds to API Gateway. Every error is an `application/problem+json` that names all that is wrong."""

    def __init__(self, parts: BaseParts, helpdesks: Helpdesks, ledger: Ledger, document: Path) -> None:
        self._helpdesks = helpdesks
        self._ledger = ledger
        self._sqs = parts.clients.sqs
        self._settings = parts.settings
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._document = document
        # What each method does at a path of this shape, with the part of the path that is in brackets.
        self._routes: dict[re.Pattern[str], dict[str, Callable[..., HttpResponse]]] = {
            re.compile(r"/tickets/*"): {"POST": self._add},
            re.compile(r"/tickets/([^/]+)/*"): {"GET": self._get, "PATCH": self._update},
            re.compile(r"/requests/([^/]+)/*"): {"GET": self._receipt},
            re.compile(r"/openapi\.json/*"): {"GET": self._openapi},
        }

    def respond(self, event: Mapping[str, Any], deadline: float) -> HttpResponse:
        """The response to one event of API Gateway. `deadline` is a moment of `time.monotonic()`."""
        count(self._metrics, "Calls")
        # Unlike the event's own path, this one lacks a custom domain's base path. It stays quoted as sent.
        path = "/" + event["pathParameters"]["proxy"]
        call = _Call(event, path, deadline)
        try:
            return self._route(call, quote(path, safe="/%", errors="replace"))
        except HelpdeskError as error:
            self._logger.warning("call refused", extra={"code": error.code, "cause": cause_of(error)})
            if isinstance(error, UnauthorizedError):
                count(self._metrics, "TokenRefused")
            return respond_error(error)

    def _route(self, call: _Call, path: str) -> HttpResponse:
        for pattern, methods in self._routes.items():
            if match := pattern.fullmatch(path):
                if call.event["httpMethod"] in methods:
                    return methods[call.event["httpMethod"]](call, *map(unquote, match.groups()))
                return _not_allowed(", ".join(methods))
        foreign = _FOREIGN.fullmatch(path)
        foreign_methods = _FOREIGN_METHODS[foreign[1]] if foreign else ()
        if foreign_methods and call.event["httpMethod"] not in foreign_methods:
            return _not_allowed(", ".join(foreign_methods))
        return respond_error(unknown_path())

    # ── routes ───────────────────────────────────────────────────────────────────────────────────────────

    def _add(self, call: _Call) -> HttpResponse:
        return self._accept(call, Operation.ADD)

    def _update(self, call: _Call, ticket_id: str) -> HttpResponse:
        return self._accept(call, Operation.UPDATE, ticket_id)

    def _get(self, call: _Call, ticket_ids: str) -> HttpResponse:
        query = query_of(call.event)
        include = query.get("include")
        body = {
            "operation": Operation.GET,
            "helpdesk": query.get("helpdesk") or self._settings.default_helpdesk,
            "ticket_ids": ticket_ids,
            "include": include.split(",") if include else [],
        }
        request = read_body(body, self._defaults())
        self._helpdesks.check(request)
        assert isinstance(request, GetRequest)  # noqa: S101  # the operation above says so
        if "watch" in request.include:
            problem = FieldProblem("include", "watch is for requests in the queue: a GET changes nothing")
            raise RejectedError("invalid_request", "the tickets cannot be watched so", (problem,))
        outcome = self._helpdesks.get(request, call.deadline)
        missing = list(outcome.missing)
        if outcome.kind is not OutcomeKind.SUCCEEDED:
            return respond_problem(404, outcome.code or "", outcome.message or "", missing=missing)
        tickets = [ticket.model_dump(mode="json", exclude_none=True) for ticket in outcome.tickets]
        return respond(200, {"tickets": tickets, "missing": missing})

    def _receipt(self, _: _Call, request_id: str) -> HttpResponse:
        if len(request_id) <= LONGEST_ID:
            receipt = self._ledger.receipt(request_id) or self._ledger.rejection(request_id)
            if receipt is not None:
                return respond(200, _shown(receipt))
        raise RejectedError("unknown_request", _UNKNOWN_REQUEST)

    def _openapi(self, _: _Call) -> HttpResponse:
        # Not read at the start: hardly any instance ever needs it.
        return respond(200, self._document.read_text())

    # ── requests into the queue ──────────────────────────────────────────────────────────────────────────

    def _accept(self, call: _Call, operation: Operation, ticket_id: str | None = None) -> HttpResponse:
        wait_s, request = self._read(call, operation, ticket_id)
        self._refuse_reuse(request)
        # If the request has ended already, the queue's consumer publishes its outcome again, without a call.
        enqueue(self._sqs, self._settings.requests_queue_url, queued(request), request.source, "request")
        count(self._metrics, "Accepted")
        self._logger.info(
            "request accepted",
            extra={
                "request_id": request.request_id,
                "operation": request.operation,
                "helpdesk": request.helpdesk,
                "source": request.source,
            },
        )
        outcome = self._wait_for(request, wait_s, call.deadline) if wait_s else None
        if outcome:
            return self._respond_outcome(call, outcome.model_copy(update={"context": request.context}))
        location = _address(call, "requests", request.request_id)
        body = {"request_id": request.request_id, "state": "accepted", "receipt": location}
        return respond(202, body, {"Location": location})

    def _refuse_reuse(self, request: Request) -> None:
        try:
            receipt = self._ledger.receipt(request.request_id)
        except UnavailableError:
            # This read only refuses earlier: the queue's consumer reads the ledger again.
            return
        if receipt and receipt.fingerprint != fingerprint(request):
            detail = "The request_id (or Idempotency-Key) belongs to another request."
            raise RejectedError("request_id_reused", detail)

    def _wait_for(self, request: Request, wait_s: int, deadline: float) -> Outcome | None:
        until = min(time.monotonic() + wait_s, deadline - _RESERVE_S)
        pause = 0.1
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.3, 0.5)
            try:
                outcome = self._ledger.outcome_of(request.request_id)
            except UnavailableError:
                return None
            if outcome:
                return outcome
        return None

    # ── reading the call ─────────────────────────────────────────────────────────────────────────────────

    def _read(self, call: _Call, operation: Operation, ticket_id: str | None) -> tuple[int, Request]:
        """The seconds to wait and the request. Raises RejectedError with all that is wrong with either."""
        wait_s = _wait_s(call.header("prefer") or "")
        try:
            request = self._request(call, operation, ticket_id)
        except RejectedError as error:
            if wait_s is not None:
                raise
            code = "invalid_prefer" if error.code == "invalid_request" else error.code
            raise RejectedError(code, error.message, (_WRONG_WAIT, *error.problems)) from error
        if wait_s is None:
            raise RejectedError("invalid_prefer", "the header Prefer is invalid", (_WRONG_WAIT,))
        return wait_s, request

    def _request(self, call: _Call, operation: Operation, ticket_id: str | None) -> Request:
        unwrapped = _unwrapped(call)
        given = {name: value for name, value in unwrapped.body.items() if value is not None}
        problems: list[FieldProblem] = []
        if ticket_id is not None:
            if str(given.get("ticket_id", ticket_id)) != ticket_id:
                problems.append(FieldProblem("ticket_id", "differs from the path"))
            given = given | {"ticket_id": ticket_id}
        body = {"operation": operation} | to_neutral(given)
        if body["operation"] != operation:
            problems.append(FieldProblem("operation", f"must be {operation} at this path"))
        if "operation" in given:
            # Even if it is wrong: the path says which is meant, so the rest can be read.
            body["operation"] = operation
        key = _idempotency_key(call)
        if key is not None and str(given.get("request_id", key)) != key:
            problems.append(FieldProblem("Idempotency-Key", "differs from request_id in the body"))
        try:
            request: Request | None = read_body(body, self._defaults(key, unwrapped))
        except RejectedError as error:
            from_header = key is not None and "request_id" not in given
            problems += [
                FieldProblem("Idempotency-Key", problem.problem)
                if from_header and problem.field == "request_id"
                else problem
                for problem in error.problems
            ]
            request = self._valid_part(body, error.problems)
        named = {problem.field for problem in problems}
        refused = self._refused_by_helpdesk(request) if request else ()
        problems += [problem for problem in refused if problem.field not in named]
        if problems or request is None:
            raise RejectedError("invalid_request", "the request is invalid", tuple(problems))
        return request

    def _valid_part(self, body: Mapping[str, Any], problems: Iterable[FieldProblem]) -> Request | None:
        """The request without its wrong fields, so the helpdesk's rules can check the rest."""
        correct = dict(body)
        for problem in problems:
            key, *inner = problem.field.split(".")
            if inner and isinstance(correct.get(key), dict):
                correct[key] = {name: value for name, value in correct[key].items() if name != inner[0]}
            else:
                correct.pop(key, None)
        try:
            return read_body(correct, self._defaults())
        except RejectedError:
            return None

    def _refused_by_helpdesk(self, request: Request) -> tuple[FieldProblem, ...]:
        try:
            self._helpdesks.check(request)
        except RejectedError as error:
            return error.problems
        return ()

    def _defaults(self, key: str | None = None, unwrapped: Unwrapped | None = None) -> Defaults:
        event_id, source = (unwrapped.event_id, unwrapped.source) if unwrapped else (None, None)
        return Defaults(
            request_id=key if key is not None else event_id or uuid.uuid4().hex,
            source=source or self._settings.default_source,
            helpdesk=self._settings.default_helpdesk,
        )

    # ── responses ────────────────────────────────────────────────────────────────────────────────────────

    def _respond_outcome(self, call: _Call, outcome: Outcome) -> HttpResponse:
        body = outcome.event()["data"]
        match outcome.kind:
            case OutcomeKind.SUCCEEDED if outcome.identity.operation is Operation.ADD:
                return respond(201, body, {"Location": self._ticket_address(call, outcome)})
            case OutcomeKind.SUCCEEDED:
                return respond(200, body)
            case OutcomeKind.REJECTED:
                status = STATUS_OF_CODE.get(outcome.code or "", 422)
            case OutcomeKind.UNKNOWN:
                status = 504
            case OutcomeKind.PARKED:
                status = 503
        more = {key: body[key] for key in ("request_id", "outcome", "errors") if key in body}
        return respond_problem(status, outcome.code or "", outcome.message or outcome.type, **more)

    def _ticket_address(self, call: _Call, outcome: Outcome) -> str:
        helpdesk = outcome.identity.helpdesk
        query = f"?helpdesk={helpdesk}" if helpdesk != self._settings.default_helpdesk else ""
        return _address(call, "tickets", outcome.ticket_id or "") + query


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
    outcome: dict[str, Any] = receipt.outcome.event()["data"] if receipt.outcome else {}
    return (
        outcome
        | receipt.identity.model_dump(mode="json", exclude_none=True)
        | {
            "state": receipt.outcome.kind if receipt.outcome else _STATES[receipt.state],
            "attempts": receipt.attempts,
            "updated_at": datetime.fromtimestamp(receipt.updated_at, UTC).isoformat(timespec="milliseconds"),
        }
    )


def _unwrapped(call: _Call) -> Unwrapped:
    try:
        raw = body_of(call.event)
        text = raw.decode()
    except ValueError as error:
        problem = FieldProblem("body", "is not UTF-8 text")
        raise RejectedError("not_json", "the body is not UTF-8 text", (problem,)) from error
    if len(raw) > MAX_BODY_BYTES:
        problem = FieldProblem("body", f"is larger than {MAX_BODY_BYTES} bytes")
        raise RejectedError("too_large", "the body is too large", (problem,))
    # A CloudEvent in binary mode: its attributes stand in headers, as in a URL.
    attributes = {name: unquote(call.header(f"ce-{name}") or "") for name in ("id", "source")}
    return unwrap(text, attributes if call.header("ce-specversion") else None)


def _idempotency_key(call: _Call) -> str | None:
    key = call.header("idempotency-key")
    # The header's draft standard puts it in quotes; most callers leave them out.
    quoted = re.fullmatch(r'"(.*)"', key or "")
    return quoted[1] if quoted else key


def _address(call: _Call, kind: str, name: str) -> str:
    # What stands before our own path: the stage, or a custom domain's base path. Where the event lacks it, as
    # on the local stack, a variable of the stage holds it.
    base_path = (call.event.get("stageVariables") or {}).get("base_path")
    base = base_path or call.event["requestContext"]["path"].removesuffix(call.path)
    return f"{base}/{kind}/{quote(name, safe='')}"


def _not_allowed(methods: str) -> HttpResponse:
    return respond_problem(405, "method_not_allowed", f"This path takes {methods}.", {"Allow": methods})
