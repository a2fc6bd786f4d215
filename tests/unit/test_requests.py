"""What is read as a request, and what is said of one that cannot be read."""

import base64
import json
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, get_args

import pytest

from helpdesk.errors import RejectedError
from helpdesk.intake.requests import Defaults, UnreadableRequestError, read_request
from helpdesk.models import AddRequest, GetRequest, HelpdeskName, Identity, Operation, Request, UpdateRequest

DEFAULTS = Defaults(request_id="message-1", source="unknown", helpdesk="kapture")
ADD: dict[str, Any] = {"operation": "add", "request_id": "r-1", "source": "shop", "ticket": {"title": "Help"}}
NAMELESS: dict[str, Any] = {"operation": "add", "ticket": {"title": "Help"}}


def read(body: Any) -> Request:
    return read_request(body if isinstance(body, str) else json.dumps(body), DEFAULTS)


def refused(body: Any) -> UnreadableRequestError:
    with pytest.raises(UnreadableRequestError) as caught:
        read(body)
    return caught.value


def problems(body: Any) -> dict[str, str]:
    return {problem.field: problem.problem for problem in refused(body).problems}


def sns(message: Any) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {"Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:x", "Message": text}


def eventbridge(detail: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "event-1",
        "detail-type": "Ticket Requested",
        "source": "com.example.shop",
        "detail": detail,
    }


def cloudevent(**content: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "cloud-1",
        "type": "com.example.alert",
        "source": "https://example.com/sensors",
        **content,
    }


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "bare": lambda body: body,
    "list of one": lambda body: [body],
    "sns": sns,
    "eventbridge": eventbridge,
    "eventbridge with a text": lambda body: eventbridge(json.dumps(body)),
    "cloudevent": lambda body: cloudevent(data=body),
    "cloudevent with a text": lambda body: cloudevent(data=json.dumps(body)),
    "cloudevent with base64": lambda body: cloudevent(
        data_base64=base64.b64encode(json.dumps(body).encode()).decode()
    ),
    "batch of one cloudevent": lambda body: [cloudevent(data=body)],
    "eventbridge in sns": lambda body: sns(eventbridge(body)),
    "cloudevent in eventbridge in sns": lambda body: sns(eventbridge(cloudevent(data=body))),
}


# ── envelopes ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED.keys())
def test_a_request_is_the_same_in_every_envelope(wrapped: Callable[[Any], Any]) -> None:
    assert read(wrapped(ADD)) == read(ADD)


@pytest.mark.parametrize("name", sorted(WRAPPED.keys() - {"list of one"}))
def test_kaptures_own_body_is_the_same_in_every_envelope(name: str) -> None:
    native = [{"request_id": "r-1", "source": "shop", "title": "Help", "ticket_details": ""}]

    assert read(WRAPPED[name](native)) == read(ADD)


def test_an_envelope_in_more_depth_than_any_real_one_is_not_opened() -> None:
    body: dict[str, Any] = ADD
    for _ in range(10):
        body = cloudevent(data=body)

    assert "operation" in problems(body)


@pytest.mark.parametrize(
    ("body", "request_id", "source"),
    [
        (NAMELESS, "message-1", "unknown"),
        (sns(NAMELESS), "sns-1", "unknown"),
        (eventbridge(NAMELESS), "event-1", "com.example.shop"),
        (cloudevent(data=NAMELESS), "https://example.com/sensors#cloud-1", "https://example.com/sensors"),
        (eventbridge(cloudevent(data=NAMELESS, source="a/b")), "a/b#cloud-1", "a/b"),
        # A rule that publishes to a topic gives each delivery another MessageId, but the event keeps its id.
        (sns(eventbridge(NAMELESS)), "event-1", "com.example.shop"),
        (eventbridge(NAMELESS | {"request_id": "own", "source": "own"}), "own", "own"),
    ],
)
def test_the_body_names_itself_else_its_envelope_does_else_the_trigger(
    body: Any, request_id: str, source: str
) -> None:
    request = read(body)

    assert (request.request_id, request.source) == (request_id, source)


def test_a_name_of_an_envelope_that_does_not_fit_still_names_the_request() -> None:
    ids = set()
    for event_id in ("two words", "ü", "x" * 200, "two  words"):
        for wrapped in (eventbridge(NAMELESS), cloudevent(data=NAMELESS)):
            first, again = (read(wrapped | {"id": event_id, "source": "ü" * 80}) for _ in range(2))
            assert (first.request_id, first.source) == (again.request_id, "unknown")
            ids.add(first.request_id)

    assert len(ids) == 8
    assert "message-1" not in ids


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"source": "shop", "id": "1"}, {"source": "crm", "id": "1"}),
        ({"source": "a#b", "id": "1"}, {"source": "a", "id": "b#1"}),
        ({"source": "a/b", "id": "1"}, {"source": "a", "id": "b/1"}),
        ({"source": "x" * 130, "id": "1"}, {"source": "x" * 131, "id": "1"}),
        ({"source": "a #", "id": "1"}, {"source": "a", "id": "# 1"}),
    ],
)
def test_two_sources_events_of_one_id_are_two_requests(first: dict[str, str], second: dict[str, str]) -> None:
    requests = [read(cloudevent(data=NAMELESS, **names)) for names in (first, second)]

    assert len({request.request_id for request in requests}) == 2


@pytest.mark.parametrize("absent", ["request_id", "source", "helpdesk"])
def test_null_is_the_same_as_absent(absent: str) -> None:
    assert getattr(read(NAMELESS | {absent: None}), absent) == getattr(DEFAULTS, absent)


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("", "body", "is not JSON at character 0"),
        ("{not json", "body", "is not JSON at character 1"),
        ('{"a": NaN}', "body", "is not JSON"),
        ("[" * 100_000, "body", "is not JSON"),
        ("[]", "body", "must be a JSON object, or a list of one"),
        (json.dumps([ADD, ADD]), "body", "must be a JSON object, or a list of one"),
        ('"text"', "body", "must be a JSON object, or a list of one"),
        (json.dumps(sns("{not json")), "body", "is not JSON at character 1"),
        (json.dumps(eventbridge([])), "detail", "must be a JSON object, or a list of one"),
        (json.dumps(cloudevent(data=5)), "data", "must be a JSON object, or a list of one"),
        (json.dumps(cloudevent(data_base64="?")), "data_base64", "is not UTF-8 text in base64"),
    ],
)
def test_a_body_without_a_request_is_named_as_such(text: str, field: str, problem: str) -> None:
    error = refused(text)

    assert error.code == "not_json"
    assert [(entry.field, entry.problem) for entry in error.problems] == [(field, problem)]
    assert error.identity == Identity(request_id="message-1", helpdesk="kapture", source="unknown")


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_wrong_field_is_named_at_once() -> None:
    wrong = {
        "operation": "add",
        "request_id": "two words",
        "helpdesk": "zendesk",
        "source": "ü",
        "reference": "r" * 129,
        "occurred_at": "2026-01-01T00:00:00",
        "colour": "red",
        "ticket": {
            "title": "  ",
            "details": 5,
            "due_date": "soon",
            "requester": {"email": "nobody", "age": 5},
            "tags": "one",
            "attachments": [{"url": "ftp://example.com/a"}, {"name": "b"}],
            "extra": [],
        },
    }

    assert problems(wrong) == {
        "request_id": "must be printable ASCII without blanks",
        "helpdesk": "must be " + " or ".join(", ".join(map(repr, get_args(HelpdeskName))).rsplit(", ", 1)),
        "source": "may hold letters, digits and ._:@/+=#- only",
        "reference": "must have at most 128 characters",
        "occurred_at": "must carry an offset, for example Z or +05:30",
        "colour": "is not a known key",
        "ticket.title": "must not be empty",
        "ticket.details": "must be a text",
        "ticket.due_date": "must be written out, for example 2026-12-31 or 2026-12-31T09:00:00Z",
        "ticket.requester.email": "must be an e-mail address",
        "ticket.requester.age": "is not a known key",
        "ticket.tags": "must be a list",
        "ticket.attachments.0.url": "must be an http or https URL",
        "ticket.attachments.1.url": "is missing",
        "ticket.extra": "must be an object",
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"operation": "must be add, update or get"}),
        ({"operation": "delete"}, {"operation": "must be add, update or get"}),
        ({"operation": ["add"]}, {"operation": "must be add, update or get"}),
        ({"operation": "add"}, {"ticket": "is missing"}),
        ({"operation": "add", "ticket": "Help"}, {"ticket": "must be an object"}),
        (
            {"operation": "add", "ticket": {"title": "\ud800"}},
            {"ticket.title": "holds what is no Unicode text"},
        ),
        (
            {"operation": "update", "changes": {"comment": "x"}},
            {"ticket_id": "name the ticket by ticket_id or by reference"},
        ),
        (
            {"operation": "update", "reference": "two words", "changes": {}},
            {"reference": "must be printable ASCII without blanks", "changes": "name at least one change"},
        ),
        (
            {"operation": "update", "ticket_id": "1,2", "changes": {"callback_at": 1713516551}},
            {
                "ticket_id": "must be an id without blanks or commas",
                "changes.callback_at": "must be written out, for example 2026-12-31 or 2026-12-31T09:00:00Z",
            },
        ),
        ({"operation": "get"}, {"ticket_ids": "is missing"}),
        ({"operation": "get", "ticket_ids": []}, {"ticket_ids": "must not be empty"}),
        (
            {"operation": "get", "ticket_ids": ["1 2"]},
            {"ticket_ids.0": "must be an id without blanks or commas"},
        ),
        (
            {"operation": "get", "ticket_ids": ["1"], "include": ["all"]},
            {"include.0": "must be 'raw' or 'watch'"},
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(body: Any, expected: dict[str, str]) -> None:
    assert problems(body) == expected


def test_an_error_quotes_nothing_of_the_request() -> None:
    error = refused({"operation": "add", "ticket": {"titel": "canary"}, "source": "canary canary"})
    unreadable = refused('{"title": "canary')

    for failure in (error, unreadable):
        assert "canary" not in "".join(traceback.format_exception(failure))


FULL: list[dict[str, Any]] = [
    {
        "operation": "add",
        "request_id": "r",
        "helpdesk": "kapture",
        "source": "s",
        "reference": "1",
        "occurred_at": "2026-01-01T00:00:00Z",
        "ticket": {
            "title": "t",
            "details": "d",
            "due_date": "2026-01-01",
            "requester": {"email": "a@b", "name": "n", "phone": "1", "customer_id": "2"},
            "tags": ["a"],
            "attachments": [{"url": "https://a/b", "name": "x"}],
            "extra": {},
        },
    },
    {"operation": "update", "ticket_id": "1", "changes": {"comment": "c", "callback_at": "2026-01-01"}},
    {"operation": "get", "ticket_ids": ["1"], "include": ["raw"], "extra": {}},
]
_ODD = [
    [],
    {},
    1,
    True,
    "",
    "\0",
    "x" * 400,
    "2026-12-31T09:00:00",
    "2026-13-31",
    ["x"] * 200,
    [[]],
    {"a": 1},
]


def with_each_part_replaced(value: Any, odd: Any) -> Iterator[Any]:
    yield odd
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: other} for other in with_each_part_replaced(inner, odd))


def test_what_is_wrong_is_never_said_in_the_words_of_a_library() -> None:
    said = set()
    for body in FULL:
        for odd in _ODD:
            for changed in with_each_part_replaced(body, odd):
                with suppress(RejectedError):
                    read(changed)
                    continue
                said |= {problem.problem for problem in refused(changed).problems}

    assert len(said) > 15
    assert [
        text for text in said if re.search(r"valid|Input|instance|dictionary|tuple|None|match", text)
    ] == []


def test_dates_are_never_guessed_from_numbers() -> None:
    for number in (20301231, "20301231", 1893456000, True):
        assert list(problems({"operation": "add", "ticket": {"title": "x", "due_date": number}})) == [
            "ticket.due_date"
        ]


def test_what_is_told_of_a_hostile_request_stays_small() -> None:
    many = refused(ADD | {"k" * 1000 + str(n): n for n in range(500)})
    deep = refused(json.dumps(ADD).replace('"Help"', '"Help", "extra": {"a": ' + "[" * 900 + "]" * 900 + "}"))

    assert len(many.problems) == 51
    assert many.problems[-1].problem == "has 450 more problems"
    assert all(len(problem.field) < 210 for problem in (*many.problems, *deep.problems))
    assert [problem.problem for problem in deep.problems] == ["is nested too deeply"]


@pytest.mark.parametrize(
    ("ticket_ids", "read_as"),
    [
        (713516551148, ("713516551148",)),
        ("713516551148", ("713516551148",)),
        ("1, 2,3", ("1", "2", "3")),
        ([1, "2"], ("1", "2")),
    ],
)
def test_ids_may_be_one_or_many_texts_or_numbers(ticket_ids: Any, read_as: tuple[str, ...]) -> None:
    request = read({"operation": "get", "ticket_ids": ticket_ids})

    assert isinstance(request, GetRequest)
    assert request.ticket_ids == read_as


def test_numbers_serve_as_ids_of_every_kind() -> None:
    update = read({"operation": "update", "request_id": 7, "ticket_id": 8, "changes": {"queue": "q"}})
    add = read(
        {"operation": "add", "reference": 9, "ticket": {"title": "x", "requester": {"customer_id": 10}}}
    )

    assert isinstance(update, UpdateRequest)
    assert (update.request_id, update.ticket_id) == ("7", "8")
    assert isinstance(add, AddRequest)
    assert add.ticket.requester is not None
    assert (add.reference, add.ticket.requester.customer_id) == ("9", "10")


def test_a_full_request_is_read_in_its_types() -> None:
    request = read(
        ADD
        | {
            "occurred_at": "2026-01-01T05:30:00+05:30",
            "ticket": {"title": " Help ", "due_date": "2026-12-31", "tags": ["a"], "extra": {"flow_id": "1"}},
        }
    )

    assert isinstance(request, AddRequest)
    assert request.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (request.ticket.title, request.ticket.due_date) == ("Help", date(2026, 12, 31))
    assert (request.ticket.tags, request.ticket.extra) == (("a",), {"flow_id": "1"})


def test_a_request_written_as_json_is_read_as_the_same_request() -> None:
    """The API puts requests into the queue in this way."""
    bodies: list[dict[str, Any]] = [
        ADD | {"occurred_at": "2026-01-01T00:00:00Z", "ticket": {"title": "x", "due_date": "2026-12-31"}},
        {
            "operation": "update",
            "ticket_id": 1,
            "changes": {"sub_status": "PS", "callback_at": "2026-01-01 10:00:00"},
        },
        {"operation": "get", "ticket_ids": "1,2", "include": ["raw"]},
    ]
    for body in bodies:
        request = read(body)
        assert read(request.model_dump_json(exclude_defaults=True)) == request


# ── Kapture's own spelling ───────────────────────────────────────────────────────────────────────────────


def test_kaptures_own_add_becomes_our_add() -> None:
    native = [
        {
            "title": "can i know the products details",
            "due_date": "2020-07-07",
            "customer_id": 48047507,
            "customer_name": "Thomson",
            "phone": "9258543210",
            "email_id": "xyz@gmail.com",
            "address": "bangalore",
            "issue_details": {"order": 5},
            "transaction_id": "",
        }
    ]
    ours = {
        "operation": "add",
        "ticket": {
            "title": "can i know the products details",
            "due_date": "2020-07-07",
            "requester": {
                "customer_id": "48047507",
                "name": "Thomson",
                "phone": "9258543210",
                "email": "xyz@gmail.com",
            },
            "extra": {"address": "bangalore", "issue_details": {"order": 5}},
        },
    }

    assert read(native) == read(ours)


def test_kaptures_own_update_becomes_our_update() -> None:
    native = [
        {
            "comment": "",
            "ticket_id": "713516551148",
            "callback_time": "2024-04-22 14:31:33",
            "sub_status": "PS",
            "queue": "",
            "disposition": "",
        }
    ]
    changes = {"sub_status": "PS", "callback_at": "2024-04-22T14:31:33"}

    assert read(native) == read({"operation": "update", "ticket_id": "713516551148", "changes": changes})


def test_kaptures_own_get_becomes_our_get_and_keeps_its_switches() -> None:
    native = {"ticket_ids": "1,2", "conversation_type": "all", "history_type": "", "assigned": ""}
    ours = {"operation": "get", "ticket_ids": ["1", "2"], "extra": {"conversation_type": "all"}}

    assert read(native) == read(ours)


def test_what_producers_send_to_kaptures_own_api_besides_is_passed_on() -> None:
    passed_on = {
        "associate_objects": "12",
        "order_details": [{"number": "5"}],
        "block": {"a": 1},
    }
    native = {"ticket_id": "1", "sub_status": "PS", **passed_on}
    changes = {"sub_status": "PS", "extra": passed_on}
    assert read(native) == read({"operation": "update", "ticket_id": "1", "changes": changes})
    assert read({"ticket_id": "1", "status": 5}) == read(
        {"operation": "update", "ticket_id": "1", "changes": {"status": "5"}}
    )

    switches = {"read_ticket_history_details": "1", "filter": {"a": [1]}}
    assert read({"ticket_ids": "1", **switches}) == read(
        {"operation": "get", "ticket_ids": ["1"], "extra": switches}
    )


def test_kaptures_spelling_is_taken_inside_our_own_request() -> None:
    native = {"title": "x", "ticket_details": "d", "email_id": "a@b", "due_date": "", "phone": 123}
    ours = {"title": "x", "details": "d", "requester": {"email": "a@b", "phone": "123"}}

    assert read(ADD | {"ticket": native}) == read(ADD | {"ticket": ours})


def test_an_unknown_key_in_kaptures_own_body_is_named() -> None:
    assert problems({"title": "x", "colour": "red"}) == {"colour": "is not a known key"}
    assert problems({"ticket_id": "1", "sub_status": "PS", "colour": "red"}) == {
        "colour": "is not a known key"
    }
    assert problems({"ticket_ids": "1", "colour": "red"}) == {"colour": "is not a known key"}


def test_a_field_in_both_spellings_is_refused_by_its_foreign_name() -> None:
    both = {
        "title": "x",
        "details": "ours",
        "ticket_details": "theirs",
        "email_id": "b@b",
        "requester": {"email": "a@b"},
    }

    assert problems(ADD | {"ticket": both}) == {
        "ticket.ticket_details": "is not a known key",
        "ticket.email_id": "is not a known key",
    }


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_invalid_request_keeps_as_much_of_its_identity_as_can_be_read() -> None:
    error = refused(
        {
            "operation": "update",
            "request_id": 5,
            "helpdesk": "socialboards",
            "source": "shop",
            "reference": "order-1",
            "changes": "x",
        }
    )

    assert error.identity == Identity(
        request_id="5",
        operation=Operation.UPDATE,
        helpdesk="socialboards",
        source="shop",
        reference="order-1",
    )


def test_an_identity_that_is_itself_wrong_falls_back_to_the_triggers() -> None:
    wrong = {"operation": "x", "request_id": "two words", "helpdesk": "other", "source": ["shop"]}
    error = refused({**wrong, "reference": {}})

    assert error.identity == Identity(request_id="message-1", helpdesk="kapture", source="unknown")


def test_an_invalid_request_in_an_envelope_is_answered_under_the_envelopes_names() -> None:
    error = refused(cloudevent(data={"operation": "add"}))

    source = "https://example.com/sensors"
    assert (error.identity.request_id, error.identity.source) == (f"{source}#cloud-1", source)
    assert error.code == "invalid_request"
