"""Sends what a person wants to try: a request by hand on any stack, a form's submission on a local one."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.local.folder import Folder
from bridge.sending import samples
from bridge.sending.samples import FormSend
from bridge.sending.triggers import Triggers
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import queued

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.console.connection import Connected
    from bridge.sending.triggers import Sent
    from helpdesk.models import Request

SOURCE = "console"


def send(connected: Connected, body: Mapping[str, Any]) -> Request:
    """Puts a request into the queue, and returns it as it was understood.

    Raises:
        RejectedError: it is no valid request; its problems name every wrong field.
    """
    defaults = Defaults(f"console-{secrets.token_hex(4)}", SOURCE, connected.helpdesks[0].name)
    request = read_body(body, defaults)
    connected.target.sqs.send_message(
        QueueUrl=connected.target.requests_queue_url,
        MessageBody=queued(request),
        MessageGroupId=request.source or SOURCE,
    )
    return request


def forms(folder: str) -> list[dict[str, str]]:
    """The forms of a user's folder that can be tried.

    `form`, and a `body` of `content_type` with a submission id of its own.
    """
    by_name: dict[str, dict[str, str]] = {}
    kept = Folder(Path(folder)).samples
    for sample in map(samples.read, sorted(kept.glob("*.json"))):
        if isinstance(sample.send, FormSend) and sample.becomes and not sample.needs:
            body = sample.send.body
            text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
            anew = with_new_id(text, str(sample.becomes["request_id"]).partition(":")[2])
            by_name.setdefault(
                sample.send.form,
                {"form": sample.send.form, "body": anew, "content_type": sample.send.content_type},
            )
    return list(by_name.values())


def submit(connected: Connected, form: str, body: str) -> Sent:
    """Sends a submission to the stack's API, signed as the form's service does it. Raises BridgeError."""
    if connected.local is None:
        raise BridgeError("Forms can be tried on the local stack only: the secret of a form is its service's")
    known = next(
        (known for known in forms(connected.local.stack.bridge_folder) if known["form"] == form), None
    )
    if known is None:
        raise BridgeError(f"There is no form {form} with a sample")
    content_type = known["content_type"]
    if content_type.startswith("multipart/"):
        # A browser's text area has line ends of its own.
        body = body.replace("\r\n", "\n").replace("\n", "\r\n")
    sent = FormSend(trigger="form", form=form, body=body, content_type=content_type)
    return Triggers(connected.local.stack).send(sent)


def with_new_id(text: str, submission_id: str) -> str:
    """The same submission twice would be one request, and the second try would seem to do nothing."""
    digits = submission_id.isdigit()
    anew = str(secrets.randbelow(10**9) + 10**9) if digits else secrets.token_hex(8)
    quoted = f'"{submission_id}"'
    return text.replace(quoted, f'"{anew}"') if quoted in text else text.replace(submission_id, anew)
