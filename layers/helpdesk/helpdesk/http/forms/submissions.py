"""Takes form submissions: verifies the sender, and queues the request that a submission becomes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import HelpdeskError, RejectedError, UnavailableError
from helpdesk.http.calls import Call
from helpdesk.http.forms.allowance import Allowance
from helpdesk.http.forms.form_file import Form
from helpdesk.http.forms.services import Submission, read_submission
from helpdesk.http.gateway import (
    MAX_BODY_BYTES,
    answer,
    call_in,
    caller_of,
    problem_of,
    too_large,
    unknown_path,
)
from helpdesk.http.shared_secrets import SharedSecrets
from helpdesk.http.signatures import SecretPath, call_id, signature_scheme
from helpdesk.intake.bodies import URLENCODED, without_boundary
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import queued
from helpdesk.runtime.base_parts import BaseParts


class FormIntake:
    """Answers API Gateway. 202 is said only after the queue has the request."""

    def __init__(self, parts: BaseParts, forms: Mapping[str, Form], secret_folder: str) -> None:
        self._forms = forms
        self._secrets = SharedSecrets(parts.clients.secretsmanager, parts.clock)
        self._secret_folder = secret_folder
        self._client = parts.clients.sqs
        self._queue_url = parts.settings.requests_queue_url
        self._default_helpdesk = parts.settings.default_helpdesk
        self._logger = parts.logger
        self._metrics = parts.metrics
        self._clock = parts.clock
        self._allowances = {
            name: Allowance(form.file.limit.rate, form.file.limit.burst, parts.clock)
            for name, form in forms.items()
        }

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one event of API Gateway."""
        parameters = event.get("pathParameters") or {}
        form = self._forms.get(str(parameters.get("form")))
        if form is None or ("secret" in parameters and not isinstance(form.file.verify, SecretPath)):
            # Anybody may try any path, so it is neither counted nor logged.
            return problem_of(unknown_path())
        try:
            call = call_in(event)
            self._verify(form, call)
            self._allow(form)
            request_id = self._accept(form, call)
        except HelpdeskError as error:
            self._count("FormRefused")
            cause = type(error.__cause__).__name__ if error.__cause__ else None
            extra = {"form": form.name, "code": error.code, "cause": cause, "caller": caller_of(event)}
            self._logger.warning("submission refused", extra=extra)
            return problem_of(error)
        if request_id is None:
            return answer(200, {"state": "ignored"})
        to_sender = form.file.answer
        named = {"Request-Id": request_id}
        if to_sender.redirect:
            return answer(303, headers={**named, "Location": to_sender.redirect})
        # Without a Location: some senders would follow one and wait there.
        return answer(to_sender.status, {"request_id": request_id, "state": "accepted"}, named)

    def _verify(self, form: Form, call: Call) -> None:
        secret_id = f"{self._secret_folder}/{form.name}"
        why = self._secrets.refusal(form.file.verify, secret_id, call, self._clock())
        if why:
            raise RejectedError(why, "the sender is not verified")

    def _allow(self, form: Form) -> None:
        wait_s = self._allowances[form.name].take()
        if wait_s:
            detail = "This form is over its rate; repeat later."
            raise UnavailableError("throttled", detail, retry_after=wait_s)

    def _accept(self, form: Form, call: Call) -> str | None:
        """The request's id once the queue has it; None for what is no finished submission."""
        submission = read_submission(form.file.service, _content_type(form, call), call.raw, form.uploads)
        if submission is None:
            self._logger.info("no finished submission", extra={"form": form.name})
            self._count("FormIgnored")
            return None
        text, request_id = self._message(form, self._named(form, submission, call))
        if len(text.encode()) > MAX_BODY_BYTES:
            raise too_large()
        self._enqueue(text, form.source)
        self._count("FormAccepted")
        self._logger.info(
            "submission accepted",
            extra={"request_id": request_id, "form": form.name, "source": form.source},
        )
        return request_id

    def _named(self, form: Form, submission: Submission, call: Call) -> Submission:
        """A submission without an id of its own gets one that the same submission gets again."""
        own_id = submission.id or call_id(form.file.verify, call)
        if own_id is None:
            # A double click is one request; the same words on another day are a new wish.
            day, raw = datetime.fromtimestamp(self._clock(), UTC).date().isoformat(), call.raw
            if signature_scheme(form.file.verify):
                # Whoever has overheard a signed call can send it again on any day.
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
                    "fields": [found.field for found in error.problems],
                },
            )
            # The consumer rejects it, and its copy shows a person everything that was filled in.
            kept = {**body, "submission": {"answers": submission.answers, "files": submission.files}}
            return json.dumps(kept, ensure_ascii=True), body["request_id"]
        if mapped.is_unmapped:
            self._logger.warning(
                "no answer is mapped", extra={"form": form.name, "request_id": request.request_id}
            )
            self._count("FormUnmapped")
        return queued(request), request.request_id

    def _enqueue(self, text: str, source: str) -> None:
        try:
            # On a standard queue the group is for fair shares: one form cannot starve the others.
            self._client.send_message(QueueUrl=self._queue_url, MessageBody=text, MessageGroupId=source)
        except (ClientError, BotoCoreError) as error:
            detail = "The queue does not take the submission; nothing was kept. Repeat later."
            raise UnavailableError("queue_unavailable", detail) from error

    def _count(self, name: str) -> None:
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def _content_type(form: Form, call: Call) -> str:
    """How to read the body: of a signed call nothing that is not signed may decide that."""
    given = call.headers.get("content-type", "")
    if signature_scheme(form.file.verify) is None:
        return given
    return URLENCODED if given.lower().startswith(URLENCODED) else ""
