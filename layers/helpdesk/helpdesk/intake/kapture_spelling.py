"""Requests in Kapture's own spelling: producers written for its API work unchanged."""

from collections.abc import Collection, Mapping
from typing import Any

_REQUESTER = {"email_id": "email", "customer_name": "name", "phone": "phone", "customer_id": "customer_id"}
_TICKET = {
    "title": "title",
    "ticket_details": "details",
    "due_date": "due_date",
    "queue": "queue",
    "disposition": "disposition",
}
_CHANGES = {
    "sub_status": "sub_status",
    "status": "status",
    "queue": "queue",
    "comment": "comment",
    "callback_time": "callback_at",
    "disposition": "disposition",
}
# Fields of add bodies that we have no counterpart for; objects and lists are associate blocks.
_TICKET_EXTRA = {"address", "type", "flow_id", "webform", "transaction_id"}
# The same of update bodies.
_CHANGES_EXTRA = {"associate_objects"}
# The switches that the get page names, and one that accounts use.
_GET_EXTRA = {
    "conversation_type",
    "history_type",
    "assigned",
    "disposed",
    "response",
    "landing_queue",
    "create",
    "resolved",
    "include_emailbody",
    "read_ticket_history_details",
}
_ENVELOPE = {"request_id", "helpdesk", "source", "reference", "occurred_at", "context"}
_OURS = {"operation", "ticket", "changes"}


def to_neutral(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request in our spelling. A body without any field of Kapture's comes back as it is.

    Empty texts mean "no value", as everywhere in Kapture's API. A key that is neither known nor an
    associate block stays in its place, so reading the request names it.
    """
    if not _OURS & body.keys():
        if "ticket_ids" in body:
            return _neutral_get(body)
        if body.keys() & ({"ticket_id"} | _CHANGES.keys() - _TICKET.keys()):
            return _neutral_update(body)
        if body.keys() & (_TICKET.keys() | _REQUESTER.keys()):
            return _neutral_add(body)
    request = dict(body)
    for key, spellings, requester in (("ticket", _TICKET, _REQUESTER), ("changes", _CHANGES, {})):
        part = body.get(key)
        if isinstance(part, Mapping):
            native = part.keys() & {
                theirs for theirs, ours in (spellings | requester).items() if theirs != ours
            }
            request[key] = _respelled(_without_empty(part) if native else part, spellings, requester)
    return request


def _neutral_add(body: Mapping[str, Any]) -> dict[str, Any]:
    request, fields = _split(body)
    extra = _passed_on(fields, _TICKET_EXTRA, _TICKET | _REQUESTER)
    known = {key: value for key, value in fields.items() if key in _TICKET | _REQUESTER}
    ticket = _respelled(_without_empty(known), _TICKET, _REQUESTER)
    if extra:
        ticket["extra"] = extra
    unknown = {key: value for key, value in fields.items() if key not in known and key not in extra}
    return request | _without_empty(unknown) | {"operation": "add", "ticket": ticket}


def _neutral_update(body: Mapping[str, Any]) -> dict[str, Any]:
    request, fields = _split(body)
    changes = _respelled(
        _without_empty({key: value for key, value in fields.items() if key in _CHANGES}), _CHANGES, {}
    )
    # The ticket's id may be a list: reading the request then names it.
    extra = _passed_on(fields, _CHANGES_EXTRA, {*_CHANGES, "ticket_id"})
    if extra:
        changes["extra"] = extra
    rest = _without_empty(
        {key: value for key, value in fields.items() if key not in _CHANGES and key not in extra}
    )
    return request | rest | {"operation": "update", "changes": changes}


def _neutral_get(body: Mapping[str, Any]) -> dict[str, Any]:
    request, fields = _split(body)
    extra = _passed_on(fields, _GET_EXTRA, {"ticket_ids", "include", "extra"})
    rest = _without_empty({key: value for key, value in fields.items() if key not in extra})
    return {"extra": extra} | request | rest | {"operation": "get"}


def _passed_on(fields: Mapping[str, Any], named: Collection[str], ours: Collection[str]) -> dict[str, Any]:
    """The fields that go to Kapture as they are: those without a counterpart, and associate blocks."""
    return _without_empty(
        {
            key: value
            for key, value in fields.items()
            if key in named or (isinstance(value, dict | list) and key not in ours)
        }
    )


def _split(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    envelope = {key: value for key, value in body.items() if key in _ENVELOPE}
    return envelope, {key: value for key, value in body.items() if key not in _ENVELOPE}


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value not in ("", None)}


def _respelled(
    part: Mapping[str, Any], spellings: Mapping[str, str], requester: Mapping[str, str]
) -> dict[str, Any]:
    # Of a field in both spellings Kapture's keeps its name, so reading the request names it.
    respelled: dict[str, Any] = {}
    person = part.get("requester") or {}
    for key, value in part.items():
        if key in requester and isinstance(person, Mapping) and requester[key] not in person:
            person = {**person, requester[key]: value}
        elif spellings.get(key, key) == key or spellings[key] not in part:
            respelled[spellings.get(key, key)] = value
        else:
            respelled[key] = value
    return respelled | ({"requester": person} if person else {})
