"""How a simulated Kapture account answers: the keys of the vendor, and each date in its own form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from bridge.simulators.kapture.tickets import Ticket

type JsonObject = dict[str, object]
type Escaped = Literal["none", "names", "all"]

SECONDS = "%Y-%m-%d %H:%M:%S"
_DAY_FIRST = "%d-%m-%Y %H:%M"

_AGENT_ID = 209803
_AGENT_NAME = "Kapture Dev API's"
_CREATION_FOLDER = "Inbox"

# What is zero or empty in every answer of ours; so is the end of a task, which an add answers (documented).
_ZEROS_OF_A_TICKET = """
folderId priority enquiryId contactId productId referenceId pendingTaskId agencyBriefId customerFeedback
lastConversationId totalConversationCount
"""
_BLANKS_OF_A_TICKET = """
orderId erpOrderId ticketEmail twitterUserId facebookUserId associativefile playStoreReviewId encryptedPhone
encryptedEmail mergeTicketId skuCode productName
"""
_ZEROS_OF_A_TASK = """
folderId contactId productId pendingTaskId customer_rating lastConversationId total_conversations
"""
_BLANKS_OF_A_TASK = """
tat sla orderId ticketEmail mergedTicketId attachment taskEnddate customer_feedback assigneeCode
"""


def local(epoch: float, zone: ZoneInfo, form: str) -> str:
    """A moment in epoch seconds as the account's clock shows it."""
    return datetime.fromtimestamp(epoch, zone).strftime(form)


@dataclass(frozen=True)
class KaptureAnswers:
    """The answers of an account in `zone` that was called at `origin`.

    With `marker_returned` off, get and pull leave ticket details and extra blocks empty. `escaped` says which
    texts of theirs are HTML-escaped.
    """

    zone: ZoneInfo
    origin: str
    marker_returned: bool
    escaped: Escaped

    def added(self, ticket: Ticket, *, older: bool) -> JsonObject:
        compact: JsonObject = {
            "due_date": ticket.due_date,
            "title": ticket.title,
            "customer_id": ticket.customer_id,
            "ticket_id": ticket.ticket_id,
            "Ticket Id": ticket.ticket_id,
            "ticket_url": self.origin + ticket.page,
            "status": "success",
        }
        if older:
            # Documented: no ticket object, and the customer id is a text.
            return compact | {"customer_id": str(ticket.customer_id)}
        # Documented: a new ticket is unread, has nobody's name on it and links to its own page.
        ticket_object = self._ticket_object(ticket) | {
            "isUnread": True,
            **dict.fromkeys(("creatorId", "assignedToId"), 0),
            **dict.fromkeys(("creatorName", "assignedToName", "assignedToPhone", "assignedToEmail"), ""),
            "ticketURL": ticket.page,
            "ticketCreatorURL": ticket.page,
        }
        # Observed: extra blocks are echoed as arrays, even those sent as an object.
        return {"ticket": ticket_object, "Additional_details": dict(ticket.blocks)} | compact

    def updated(self, ticket: Ticket) -> JsonObject:
        return {
            "ticket": self._ticket_object(ticket),
            "Additional_details": {},
            "message": "Status and Comment have been updated.\n",
            "status": "success",
        }

    def found(self, ticket: Ticket, *, notes: bool) -> JsonObject:
        """One element of the answer to a get; `notes` shows the comments, oldest first (observed)."""
        element: JsonObject = {
            "additional_info": self._shown_blocks(ticket),
            "history": {},
            "task_details": self._task_details(ticket),
        }
        if notes:
            details = [{"detail": self._text(comment)} for comment in ticket.comments]
            element["conversation_type"] = {"notes": details}
        return element

    def pulled(self, tickets: Sequence[Ticket], *, older: bool, varying: bool) -> JsonObject:
        """The answer to a pull; where it varies, one ticket is an object and none a text (observed)."""
        if older:
            return {"status": "success", "message": [self._older_pull_item(ticket) for ticket in tickets]}
        items = [self._pull_item(ticket) for ticket in tickets]
        message: object = items
        if varying and len(items) < 2:
            message = items[0] if items else "No tickets found"
        return {"totalCount": None, "message": message, "status": "success"}

    def _name(self, name: str) -> str:
        return name if self.escaped == "none" else _escaped(name)

    def _text(self, text: str) -> str:
        return _escaped(text) if self.escaped == "all" else text

    def _shown_details(self, ticket: Ticket) -> str:
        return ticket.details if self.marker_returned else ""

    def _shown_blocks(self, ticket: Ticket) -> JsonObject:
        return dict(ticket.blocks) if self.marker_returned else {}

    def _ticket_object(self, ticket: Ticket) -> JsonObject:
        """The `ticket` of an update's answer; an add's differs in a few values (documented)."""
        created = local(ticket.created_at, self.zone, SECONDS)
        status, status_name = ticket.status
        return {
            **dict.fromkeys(_ZEROS_OF_A_TICKET.split(), 0),
            **dict.fromkeys(_BLANKS_OF_A_TICKET.split(), ""),
            "id": ticket.internal_id,
            "type": "O",
            "email": ticket.email,
            "phone": ticket.phone,
            "status": status,
            "queueKey": ticket.queue,
            "ticketId": ticket.ticket_id,
            "detail": self._shown_details(ticket),
            "isUnread": False,
            "isOutOfSLA": False,
            "isCallBack": bool(ticket.callback_time),
            "creatorId": _AGENT_ID,
            "substatus": ticket.sub_status,
            "assignedToId": _AGENT_ID,
            "statusName": status_name,
            "lastConversationType": "O",
            "lastConversationTime": int(ticket.created_at * 1000),
            "date": created,
            "taskTitle": ticket.title,
            "typeName": "Mobile App",
            "taskEnddate": ticket.due_date,
            "lastFollowUp": local(ticket.updated_at, self.zone, SECONDS),
            "nextFollowUp": ticket.callback_time or created,
            "substatusName": ticket.sub_status_name,
            "lastConversationTypeName": "Mobile App",
            "ticketURL": ticket.list_page,
            "ticketCreatorURL": ticket.list_page,
            "isEscalated": True,
            "folders": ticket.disposition.split("|") if ticket.disposition else [_CREATION_FOLDER],
            "queueName": ticket.queue_name,
            "creatorName": _AGENT_NAME,
            "folderColor": "red",
            "assignedToName": _AGENT_NAME,
            "assignedToEmail": "agent@example.com",
        }

    def _task_details(self, ticket: Ticket) -> JsonObject:
        """The `task_details` of a get: other date form, names for keys, escaped people (documented)."""
        created = local(ticket.created_at, self.zone, _DAY_FIRST)
        callback = _day_first(ticket.callback_time)
        return {
            **dict.fromkeys(_ZEROS_OF_A_TASK.split(), 0),
            **dict.fromkeys(_BLANKS_OF_A_TASK.split(), ""),
            "date": created,
            "status": ticket.status[1],
            "nextFollowUp": callback or created,
            "lastFollowUp": local(ticket.updated_at, self.zone, _DAY_FIRST),
            "taskId": ticket.internal_id,
            "email": ticket.email,
            "phone": ticket.phone,
            "lastSource": "Mobile App",
            "lastConvesationTime": created,
            "title": self._text(ticket.title),
            "primarySource": "Mobile App",
            "ticketId": ticket.ticket_id,
            "detail": self._text(self._shown_details(ticket)),
            "creatorId": _AGENT_ID,
            "customerId": ticket.customer_id,
            "assignedId": _AGENT_ID,
            "creatorName": self._name(_AGENT_NAME),
            "priority": ticket.priority,
            "ticketCloseEmpId": _AGENT_ID,
            "assignedToName": self._name(_AGENT_NAME),
            "callBack": callback,
            "queueKey": ticket.queue,
            "slaStatus": "out of sla",
            "queueName": ticket.queue_name,
            "disposition": ticket.disposition or _CREATION_FOLDER,
            "url": self.origin + ticket.page,
            "substatus": ticket.sub_status_name,
            "substatusKey": ticket.sub_status,
            "ftr": "no",
            "attachments": [],
        }

    def _pull_item(self, ticket: Ticket) -> JsonObject:
        """One flat item of a pull: the first keys are documented, customer and extra blocks observed."""
        details = self._task_details(ticket)
        absent = {"title", "email", "phone", "ticketEmail", "attachments"}
        return {key: value for key, value in details.items() if key not in absent} | {
            "taskTitle": self._text(ticket.title),
            "customerName": self._name(ticket.customer_name),
            "customerEmail": ticket.email,
            "customerPhone": ticket.phone,
            "additional_info": self._shown_blocks(ticket),
        }

    def _older_pull_item(self, ticket: Ticket) -> JsonObject:
        """One item as the older generation answers it: `status` is a result there (documented)."""
        return {
            "tat": "",
            "sla": "",
            "ticketId": ticket.ticket_id,
            "contactId": "",
            "referenceId": "",
            "creatorName": self._name(_AGENT_NAME),
            "priority": ticket.priority,
            "assignedToName": self._name(_AGENT_NAME),
            "status": "success",
            "sla status": "out of sla",
            "date": local(ticket.created_at, self.zone, SECONDS),
            "total_conversations": "0",
            "taskTitle": self._text(ticket.title),
            "substatus": ticket.sub_status_name,
            "taskEnddate": ticket.due_date[: len("yyyy-MM-dd HH:mm")],
            "disposition": f"{ticket.disposition or _CREATION_FOLDER} ",
            "companyName": "",
            "customerName": self._name(ticket.customer_name),
            "customerEmail": ticket.email,
            "customerPhone": ticket.phone,
        }


def _day_first(moment: str) -> str:
    if not moment:
        return ""
    return datetime.strptime(moment, SECONDS).strftime(_DAY_FIRST)  # noqa: DTZ007 - local in, local out


def _escaped(text: str) -> str:
    """A text as get and pull show names: `&apos;` is documented, html.escape spells it otherwise."""
    return escape(text, quote=False).replace('"', "&quot;").replace("'", "&apos;")
