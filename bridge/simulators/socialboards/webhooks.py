"""What a simulated Socialboards account sends by itself: webhooks, and the check of a new end-point.

No signature is documented, so none is sent; the verify token belongs to the check alone.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Annotated

import aiohttp
from aiohttp import web
from pydantic import Field

from bridge.simulators.faults import ControlError, Posted, posted
from bridge.simulators.server import json_of
from bridge.simulators.socialboards.answers import SocialboardsAnswers, with_pascal_case_keys
from bridge.simulators.socialboards.tickets import Category

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.simulators.socialboards.tickets import Action, Ticket

STATUS_CHANGE = "ticket_status_change"
CATEGORY_CHANGE = "ticket_category_change"
# The names of other events exist, but were not found.
_PREVIOUS: Mapping[str, tuple[str, Action]] = {
    STATUS_CHANGE: ("PreviousTicketStatus", "ticket_status_changed"),
    CATEGORY_CHANGE: ("PreviousTicketCategoryId", "ticket_category_changed"),
}
_COMMUNITY = "yourCompany"
_TIMEOUT = aiohttp.ClientTimeout(total=30)

Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


class _Order(Posted):
    url: Url


class Webhook(_Order):
    """One POST about a stored ticket; the oddities are those of the vendor's own samples."""

    ticket_id: int
    event_type: str = STATUS_CHANGE
    omit_ticket_id: bool = False
    """Older webhooks have none in the envelope."""
    envelope_ticket_id: int | None = None
    """The envelope names another ticket than the event."""
    null_attachments: bool = False
    missing_comma: bool = False
    """The body is no valid JSON."""


class Verification(_Order):
    """The GET that is sent when an end-point is configured."""

    verify_token: str


def webhook_body(order: Webhook, ticket: Ticket) -> bytes:
    """What is posted. The previous value is the one before the ticket's latest change of that kind."""
    shown = SocialboardsAnswers(offset_hours=1).ticket(ticket)
    if order.null_attachments:
        shown["attachments"] = None
    event: dict[str, object] = {
        "InboxLink": f"https://inbox.socialboards.com/{_COMMUNITY}/tickets?ticketId={ticket.ticket_id}"
    }
    if order.event_type in _PREVIOUS:
        key, action = _PREVIOUS[order.event_type]
        befores = [change.before for change in ticket.changes if change.action == action]
        before = befores[-1] if befores else None
        event[key] = before.id if isinstance(before, Category) else before
    event["Ticket"] = with_pascal_case_keys(shown)
    content: dict[str, object] = {"CommunityName": _COMMUNITY, "EventType": order.event_type}
    if not order.omit_ticket_id:
        content["TicketId"] = order.envelope_ticket_id or ticket.ticket_id
    text = json.dumps(content | {"Events": [event]}, ensure_ascii=False)
    return (text.replace(', "EventType"', ' "EventType"', 1) if order.missing_comma else text).encode()


def webhook_routes(ticket_of: Callable[[int], Ticket]) -> list[web.RouteDef]:
    """Control calls that send one webhook or check one end-point, and answer with what came back.

    `ticket_of` raises ControlError where there is no such ticket.
    """

    async def post(request: web.Request) -> web.Response:
        order = posted(Webhook, await json_of(request))
        return web.json_response(await _post_webhook(order, ticket_of(order.ticket_id)))

    async def check(request: web.Request) -> web.Response:
        return web.json_response(await _verify(posted(Verification, await json_of(request))))

    return [web.post("/_control/webhooks", post), web.post("/_control/webhooks/verification", check)]


async def _post_webhook(order: Webhook, ticket: Ticket) -> dict[str, object]:
    body = webhook_body(order, ticket)
    status, text = await _call("POST", order.url, body=body)
    return {"sent": body.decode(), "status": status, "body": text}


async def _verify(order: Verification) -> dict[str, object]:
    """Check an end-point, which must answer with the challenge (documented)."""
    challenge = secrets.randbelow(10**9)
    query = {"challenge": str(challenge), "verifyToken": order.verify_token}
    status, text = await _call("GET", order.url, query=query)
    # Inferred: nothing but the number, whatever surrounds it is refused.
    verified = status == 200 and text.strip() == str(challenge)
    return {"challenge": challenge, "verified": verified, "status": status, "body": text}


async def _call(
    method: str, url: str, *, body: bytes | None = None, query: Mapping[str, str] | None = None
) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(
                method, url, data=body, params=query, headers=headers, allow_redirects=False
            ) as answer,
        ):
            return answer.status, await answer.text(errors="replace")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ControlError([f"{type(error).__name__}: {error}"]) from error
