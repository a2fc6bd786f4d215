"""Takes form submissions: verifies the sender, and queues the request that a submission becomes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from helpdesk.errors import HelpdeskError, RejectedError, UnavailableError
from helpdesk.http.forms.allowance import Allowance
from helpdesk.http.forms.form_file import Form
from helpdesk.http.forms.services import Submission, read_submission
from helpdesk.http.gateway import (
    MAX_BODY_BYTES,
    Call,
    HttpResponse,
    caller_of,
    cause_of,
    count,
    enqueue,
    path_parameter,
    read_call,
    respond,
    respond_error,
    too_large,
    unknown_path,
)
from helpdesk.http.signatures import Hmac, Verifier, call_id
from helpdesk.intake.bodies import URLENCODED, without_boundary
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import queued
from helpdesk.runtime.base_parts import BaseParts


class FormIntake:
    """Responds to API Gateway. It responds with 202 only after the queue has the request."""

    def __init__(self, parts: BaseParts, forms: Mapping[str, Form], secret_folder: str) -> None:
        self._forms = forms
        self._verifier = Verifier(parts.clients.secretsmanager, parts.clock)
        self._secret_folder = secret_folder
        self._sqs = parts.clients.sqs
        self._queue_url = parts.settings.requests_queue_url
        self._default_helpdesk = parts.settings.default_helpdesk
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock
        self._allowances = {
            name: Allowance(form.rate, form.burst, parts.clock) for name, form in forms.items()
        }

    def respond(self, event: Mapping[str, Any]) -> HttpResponse:
        """The response to one event of API Gateway."""
        form = self._forms.get(str(path_parameter(event, "form")))
        secret = path_parameter(event, "secret")
        if form is None or (secret is not None and form.verify != "path"):
            # Anybody may try any path, so it is neither counted nor logged.
            return respond_error(unknown_path())
        try:
            call = read_call(event)
            self._verifier.verify(form.verify, f"{self._secret_folder}/{form.name}", call)
            self._allow(form)
            request_id = self._accept(form, call)
        except HelpdeskError as error:
            count(self._metrics, "FormRefused")
            if error.code == "no_secret":
                # It raises an alarm at once: every submission is lost until the form has a secret.
                count(self._metrics, "FormWithoutSecret")
            codes = {"code": error.code, "cause": cause_of(error)}
            extra = {"form": form.name, **codes, "caller": caller_of(event)}
            self._logger.warning("submission refused", extra=extra)
            return respond_error(error)
        if request_id is None:
            return respond(200, {"state": "ignored"})
        headers = {"Request-Id": request_id}
        if form.redirect:
            return respond(303, headers={**headers, "Location": form.redirect})
        # Without a Location: some senders would follow it and wait there.
        return respond(form.status, {"request_id": request_id, "state": "accepted"}, headers)

    def _allow(self, form: Form) -> None:
        wait_s = self._allowances[form.name].take()
        if wait_s:
            detail = "This form is over its rate; repeat later."
            raise UnavailableError("throttled", detail, retry_after=wait_s)

    def _accept(self, form: Form, call: Call) -> str | None:
        """The request's id once the queue has it; None for what is no finished submission."""
        submission = read_submission(form.service, _content_type(form, call), call.raw, form.uploads)
        if submission is None:
            self._logger.info("no finished submission", extra={"form": form.name})
            count(self._metrics, "FormIgnored")
            return None
        text, request_id = self._message(form, self._named(form, submission, call))
        if len(text.encode()) > MAX_BODY_BYTES:
            raise too_large()
        enqueue(self._sqs, self._queue_url, text, form.source, "submission")
        count(self._metrics, "FormAccepted")
        self._logger.info(
            "submission accepted",
            extra={"request_id": request_id, "form": form.name, "source": form.source},
        )
        return request_id

    def _named(self, form: Form, submission: Submission, call: Call) -> Submission:
        """A submission without an id of its own gets one that the same submission gets again."""
        own_id = submission.id or call_id(form.verify, call)
        if own_id is None:
            # A double click is one request; the same words on another day are a new request.
            day, raw = datetime.fromtimestamp(self._clock(), UTC).date().isoformat(), call.raw
            if isinstance(form.verify, Hmac):
                # Whoever overheard a signed call can send it again on any day.
                day = ""
            else:
                raw = without_boundary(call.headers.get("content-type", ""), raw)
            own_id = sha256(f"{form.name} {day} ".encode() + raw).hexdigest()[:32]
        return replace(submission, id=own_id)

    def _message(self, form: Form, submission: Submission) -> tuple[str, str]:
        mapped = form.request_of(submission)
        body = mapped.body
        if mapped.failures:
            fields = {"form": form.name, "expressions": mapped.failures}
            self._logger.warning("expressions failed", extra=fields)
        defaults = Defaults(body["request_id"], form.source, self._default_helpdesk)
        try:
            request = read_body(body, defaults)
        except RejectedError as error:
            if not form.keeps_invalid:
                raise
            self._logger.warning(
                "submission makes no valid request",
                extra={
                    "form": form.name,
                    "request_id": body["request_id"],
                    "fields": [problem.field for problem in error.problems],
                },
            )
            # The queue's consumer rejects it, and the parked copy shows a person all that was filled in.
            kept = {**body, "submission": {"answers": submission.answers, "files": submission.files}}
            return json.dumps(kept, ensure_ascii=True), body["request_id"]
        if mapped.is_unmapped:
            self._logger.warning(
                "no answer is mapped", extra={"form": form.name, "request_id": request.request_id}
            )
            count(self._metrics, "FormUnmapped")
        return queued(request), request.request_id


def _content_type(form: Form, call: Call) -> str:
    """How to read the body. In a signed call the header is not signed, so it may not choose freely."""
    content_type = call.headers.get("content-type", "")
    if not isinstance(form.verify, Hmac):
        return content_type
    return URLENCODED if content_type.lower().startswith(URLENCODED) else ""
