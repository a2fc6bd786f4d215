"""The HTTP API: takes requests into the queue, reads tickets, and shows receipts."""

import base64
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

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
from helpdesk.http.gateway import (
    MAX_BODY_BYTES,
    PROBLEM_TYPE,
    STATUS_OF_CODE,
    answer,
    problem_body,
    rejection_body,
    repeat_later,
)
from helpdesk.intake.envelopes import Unwrapped, unwrap
from helpdesk.intake.kapture_spelling import to_neutral
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import LONGEST_ID, GetRequest, Operation, Outcome, OutcomeKind, Request, queued
from helpdesk.runtime.base_parts import BaseParts
from helpdesk.store.ledger import Ledger, Receipt, fingerprint
from helpdesk.work.helpdesks import Helpdesks

MAX_WAIT_S = 25
# What an answer needs after the last look at the ledger.
_RESERVE_S = 2.0
# These are functions of their own; only what they do not take comes here.
_FOREIGN_METHODS = {"forms": ("POST",), "callbacks": ("GET", "POST")}
_FOREIGN = re.compile(r"/(forms|callbacks)/[^/]+(/[^/]+)?/*")
_STATES = {"claimed": "in_progress", "released": "waiting"}


type Answer = dict[str, Any]


@dataclass(frozen=True)
class _Call:
    """One call: `path` is quoted, and without the base path of a custom domain."""

    event: Mapping[str, Any] = field(repr=False)
    path: str
    deadline: float

    def header(self, name: str) -> str | None:
        """A header's value in whatever case it was sent; a repeated one's values with commas between."""
        repeated: Mapping[str, list[str]] = self.event.get("multiValueHeaders") or {}
        given = [value for sent, values in repeated.items() if sent.lower() == name for value in values]
        return ", ".join(given) if given else None

    def query(self, name: str) -> str | None:
        value: str | None = (self.event.get("queryStringParameters") or {}).get(name)
        return value

    def body(self) -> bytes:
        """The bytes as they were sent. Raises ValueError."""
        text: str = self.event.get("body") or ""
        return base64.b64decode(text) if self.event.get("isBase64Encoded") else text.encode()


class TicketApi:
    """Answers API Gateway. Every error is an `application/problem+json` that names all that is wrong."""

    def __init__(self, parts: BaseParts, helpdesks: Helpdesks, ledger: Ledger, document: Path) -> None:
        self._helpdesks = helpdesks
        self._ledger = ledger
        self._client = parts.clients.sqs
        self._settings = parts.settings
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._document = document
        # By a path's shape, what each method does with the part that is a name.
        self._routes: dict[re.Pattern[str], dict[str, Callable[..., Answer]]] = {
            re.compile(r"/tickets/*"): {"POST": self._add},
            re.compile(r"/tickets/([^/]+)/*"): {"GET": self._get, "PATCH": self._update},
            re.compile(r"/requests/([^/]+)/*"): {"GET": self._receipt},
            re.compile(r"/openapi\.json/*"): {"GET": self._described},
        }

    def answer(self, event: Mapping[str, Any], deadline: float) -> Answer:
        """The answer to one event of API Gateway. `deadline` is a moment of `time.monotonic()`."""
        self._count("Calls")
        # Unlike the event's own path, this one is without the base path of a custom domain. What came quoted
        # stays so.
        path = "/" + event["pathParameters"]["proxy"]
        call = _Call(event, path, deadline)
        try:
            return self._routed(call, quote(path, safe="/%", errors="replace"))
        except HelpdeskError as error:
            return self._failed(error)

    def _routed(self, call: _Call, path: str) -> Answer:
        for pattern, methods in self._routes.items():
            if found := pattern.fullmatch(path):
                if call.event["httpMethod"] in methods:
                    return methods[call.event["httpMethod"]](call, *map(unquote, found.groups()))
                return _not_allowed(", ".join(methods))
        foreign = _FOREIGN.fullmatch(path)
        methods_there = _FOREIGN_METHODS[foreign[1]] if foreign else ()
        if methods_there and call.event["httpMethod"] not in methods_there:
            return _not_allowed(", ".join(methods_there))
        return _problem(404, "unknown_path", "Nothing answers at this path.")

    # ── routes ───────────────────────────────────────────────────────────────────────────────────────────

    def _add(self, call: _Call) -> Answer:
        return self._accept(call, Operation.ADD)

    def _update(self, call: _Call, ticket_id: str) -> Answer:
        return self._accept(call, Operation.UPDATE, ticket_id)

    def _get(self, call: _Call, ticket_ids: str) -> Answer:
        include = call.query("include")
        body = {
            "operation": Operation.GET,
            "helpdesk": call.query("helpdesk") or self._settings.default_helpdesk,
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
            return _problem(404, outcome.code or "", outcome.message or "", missing=missing)
        tickets = [ticket.model_dump(mode="json", exclude_none=True) for ticket in outcome.tickets]
        return answer(200, {"tickets": tickets, "missing": missing})

    def _receipt(self, _: _Call, wanted: str) -> Answer:
        receipt = self._ledger.receipt(wanted) if len(wanted) <= LONGEST_ID else None
        if receipt is None:
            detail = "No request of this id has been begun: it may still wait in the queue."
            raise RejectedError("unknown_request", detail)
        return answer(200, _shown(receipt))

    def _described(self, _: _Call) -> Answer:
        # Read when asked for: hardly any instance ever is.
        return answer(200, {}) | {"body": self._document.read_text()}

    # ── requests into the queue ──────────────────────────────────────────────────────────────────────────

    def _accept(self, call: _Call, operation: Operation, ticket_id: str | None = None) -> Answer:
        wait_s, request = self._asked(call, operation, ticket_id)
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
        outcome = self._awaited(request, wait_s, call.deadline) if wait_s else None
        if outcome:
            return self._ended(call, outcome)
        location = _address(call, "requests", request.request_id)
        shown = {"request_id": request.request_id, "state": "accepted", "receipt": location}
        return answer(202, shown, {"Location": location})

    def _refuse_reuse(self, request: Request) -> None:
        try:
            receipt = self._ledger.receipt(request.request_id)
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

    def _awaited(self, request: Request, wait_s: int, deadline: float) -> Outcome | None:
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

    def _asked(self, call: _Call, operation: Operation, ticket_id: str | None) -> tuple[int, Request]:
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
            # Wrong or not: what is meant is known, so the rest can be read.
            body["operation"] = operation
        key = _idempotency_key(call)
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

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────

    def _ended(self, call: _Call, outcome: Outcome) -> Answer:
        shown = outcome.event()["data"]
        match outcome.kind:
            case OutcomeKind.SUCCEEDED if outcome.identity.operation is Operation.ADD:
                return answer(201, shown, {"Location": self._ticket_address(call, outcome)})
            case OutcomeKind.SUCCEEDED:
                return answer(200, shown)
            case OutcomeKind.REJECTED:
                status = STATUS_OF_CODE.get(outcome.code or "", 422)
            case OutcomeKind.UNKNOWN:
                status = 504
            case OutcomeKind.PARKED:
                status = 503
        kept = {key: shown[key] for key in ("request_id", "outcome", "errors") if key in shown}
        return _problem(status, outcome.code or "", outcome.message or outcome.type, **kept)

    def _ticket_address(self, call: _Call, outcome: Outcome) -> str:
        helpdesk = outcome.identity.helpdesk
        query = f"?helpdesk={helpdesk}" if helpdesk != self._settings.default_helpdesk else ""
        return _address(call, "tickets", outcome.ticket_id or "") + query

    def _failed(self, error: HelpdeskError) -> Answer:
        cause = type(error.__cause__).__name__ if error.__cause__ else None
        self._logger.warning("call refused", extra={"code": error.code, "cause": cause})
        match error:
            case RejectedError():
                body = rejection_body(error)
                return answer(body["status"], body, content_type=PROBLEM_TYPE)
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


def _unwrapped(call: _Call) -> Unwrapped:
    try:
        raw = call.body()
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
    given = call.header("idempotency-key")
    # The header's draft standard has it in quotes; most callers leave them out.
    quoted = re.fullmatch(r'"(.*)"', given or "")
    return quoted[1] if quoted else given


def _address(call: _Call, kind: str, name: str) -> str:
    # What stands before our own path: the stage, or a custom domain's base path. Only a variable of the stage
    # can tell of anything else.
    base_path = (call.event.get("stageVariables") or {}).get("base_path")
    base = base_path or call.event["requestContext"]["path"].removesuffix(call.path)
    return f"{base}/{kind}/{quote(name, safe='')}"


def _not_allowed(methods: str) -> Answer:
    return _problem(405, "method_not_allowed", f"This path takes {methods}.", {"Allow": methods})


def _problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Answer:
    return answer(status, problem_body(status, code, detail, **more), headers, PROBLEM_TYPE)
