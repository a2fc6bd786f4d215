"""What the tools raise for what a person can put right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

if TYPE_CHECKING:
    import boto3


class BridgeError(Exception):
    """A failure whose message says what to look at or to do; shown without a stack trace."""


class NotAwsError(BotoCoreError):
    """Something else has answered in the place of AWS."""

    fmt = "What answered is not AWS: a proxy perhaps. Check HTTPS_PROXY, AWS_ENDPOINT_URL and the network."


def refuse_web_pages(session: boto3.Session) -> boto3.Session:
    """The session, whose clients raise NotAwsError where a web page answers them, as a proxy's login page.

    They would read it as an answer that holds nothing.
    """
    session.events.register("before-parse", _refuse_web_page)
    return session


def _refuse_web_page(response_dict: dict[str, Any], **_: object) -> None:
    content_type = response_dict["headers"].get("content-type", "")
    # A server error of AWS may be a page too; it is repeated as any other.
    if content_type.startswith("text/html") and response_dict["status_code"] < 500:
        raise NotAwsError
