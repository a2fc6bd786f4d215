"""The HTTP API, through the true handler: answers, and what is in the queue afterwards."""

import io
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import ticket_api
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.runtime import invocation
from tests.deployment import Answer, Context, Deployment
from tests.functional.conftest import TOKEN
from tests.waiting import eventually, held

ADD = {"ticket": {"title": "Printer on fire"}}
UPDATE = {"changes": {"sub_status": "PS"}}


def queued(deployment: Deployment) -> list[dict[str, Any]]:
    """The requests in the queue, which are hidden from then on."""
    return [json.loads(record["body"]) for record in deployment.receive()]


def problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The body of a problem answer, after a check of all that each of them must have."""
    assert (answer.status, answer.body["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body["type"] == "about:blank"
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert answer.body["detail"]
    body: dict[str, Any] = answer.body
    return body


def wrong(answer: Answer, status: int = 422, code: str = "invalid_request") -> dict[str, str]:
    """What an answer says of each wrong field; no field is named twice."""
    errors = problem(answer, status, code)["errors"]
    fields = {error["field"]: error["problem"] for error in errors}
    assert len(fields) == len(errors)
    return fields


@contextmanager
def consumer_running(deployment: Deployment) -> Iterator[None]:
    """Carries out what gets into the queue, as soon as it is there."""
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            if records := deployment.receive():
                deployment.consume(records)
            else:
                stopped.wait(0.02)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        # Powertools keeps one set of metrics a process: a handler that sends and empties it while another
        # does the same would find nothing in it.
        patch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
        running = pool.submit(run)
        try:
            yield
        finally:
            stopped.set()
    invocation.metrics.clear_metrics()
    running.result()


def added(deployment: Deployment, request_id: str = "earlier", **ticket: Any) -> str:
    """The id of a ticket that was added over the API."""
    body = {"request_id": request_id, "ticket": ADD["ticket"] | ticket}
    assert deployment.call("POST", "/tickets", body).status == 202
    assert deployment.consume() == []
    ticket_id: str = deployment.call("GET", f"/requests/{request_id}").body["ticket_id"]
    return ticket_id


# ── requests into the queue ──────────────────────────────────────────────────────────────────────────────


def test_an_add_goes_into_the_queue_and_its_answer_tells_where_the_receipt_will_be(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    sent = {"request_id": "order-7", "source": "shop", "reference": "7", **ADD}

    answer = deployment.call("POST", "/tickets", sent)

    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"] == "/v1/requests/order-7"
    assert answer.body == {
        "request_id": "order-7",
        "state": "accepted",
        "receipt": "/v1/requests/order-7",
    }
    assert queued(deployment) == [{**sent, "operation": "add", "helpdesk": "kapture"}]
    assert kapture.calls == []


def test_an_update_goes_into_the_queue_with_the_ticket_of_its_path(deployment: Deployment) -> None:
    answer = deployment.call("PATCH", "/tickets/T%2F42", {"request_id": "change-1", **UPDATE})

    assert answer.status == 202
    assert answer.headers["location"] == "/v1/requests/change-1"
    [request] = queued(deployment)
    assert (request["operation"], request["ticket_id"], request["changes"]) == (
        "update",
        "T/42",
        {"sub_status": "PS"},
    )


def test_requests_without_an_id_are_different_requests(deployment: Deployment) -> None:
    answers = [deployment.call("POST", "/tickets", ADD) for _ in range(2)]

    ids = {answer.body["request_id"] for answer in answers}
    assert len(ids) == 2
    assert {request["request_id"] for request in queued(deployment)} == ids


def test_the_queue_shares_its_turns_by_source(deployment: Deployment) -> None:
    deployment.call("POST", "/tickets", {"source": "shop", **ADD})

    [record] = deployment.receive()
    assert record["attributes"]["MessageGroupId"] == "shop"


def test_a_receipt_can_be_read_at_the_location_whatever_its_id_is_made_of(deployment: Deployment) -> None:
    request_id = 'forms/7#a%20b?"c"'
    location = deployment.call("POST", "/tickets", {"request_id": request_id, **ADD}).headers["location"]
    deployment.consume()

    answer = deployment.call("GET", location.removeprefix("/v1"))

    assert answer.status == 200
    assert answer.body["request_id"] == request_id


def test_behind_the_base_path_of_a_custom_domain_all_paths_work_and_the_location_has_it(
    deployment: Deployment,
) -> None:
    answer = deployment.call("POST", "/tickets", {"request_id": "r1", **ADD}, base_path="/helpdesk")

    assert answer.status == 202
    assert answer.headers["location"] == "/helpdesk/requests/r1"
    assert deployment.call("PATCH", "/tickets/5", UPDATE, base_path="/helpdesk").status == 202
    assert deployment.call("GET", "/requests/r2", base_path="/helpdesk").body["code"] == "unknown_request"


def test_the_location_begins_with_what_the_stage_says_that_stands_before_it(deployment: Deployment) -> None:
    event = deployment.api_event("POST", "/tickets", ADD, {"Idempotency-Key": "r1"})
    answer = ticket_api.handler(event | {"stageVariables": {"base_path": "/behind/v1"}}, Context(29_000))

    assert answer["headers"]["Location"] == "/behind/v1/requests/r1"
    assert json.loads(answer["body"])["receipt"] == "/behind/v1/requests/r1"


def test_a_repeated_request_is_accepted_again_and_makes_no_second_ticket(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    for _ in range(2):
        answer = deployment.call("POST", "/tickets", ADD, {"Idempotency-Key": "once"})
        assert answer.status == 202
        deployment.consume()

    assert len(kapture.tickets) == 1


def test_another_request_under_a_used_id_is_refused(deployment: Deployment) -> None:
    added(deployment, "used")

    answer = deployment.call("POST", "/tickets", {"request_id": "used", "ticket": {"title": "Another"}})

    problem(answer, 409, "request_id_reused")
    assert deployment.waiting() == 0


def test_requests_are_accepted_while_the_ledger_is_away(deployment: Deployment) -> None:
    deployment.dynamodb.delete_table(TableName="ledger")

    assert deployment.call("POST", "/tickets", ADD).status == 202
    assert deployment.waiting() == 1


def test_a_request_that_the_queue_does_not_take_is_not_accepted(deployment: Deployment) -> None:
    deployment.sqs.delete_queue(QueueUrl=deployment.requests)

    answer = deployment.call("POST", "/tickets", {"request_id": "lost", **ADD}, {"Prefer": "wait=20"})

    problem(answer, 503, "queue_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "location" not in answer.headers
    assert deployment.dynamodb.scan(TableName="ledger")["Items"] == []


# ── request ids in headers ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", "order-7"),
        ("idempotency-key", '"order-7"'),
        ("IDEMPOTENCY-KEY", "  order-7 "),
    ],
)
def test_the_idempotency_key_is_the_request_id(deployment: Deployment, name: str, value: str) -> None:
    answer = deployment.call("POST", "/tickets", ADD, {name: value})

    assert answer.body["request_id"] == "order-7"
    assert queued(deployment)[0]["request_id"] == "order-7"


def test_the_idempotency_key_may_repeat_the_request_id_of_the_body(deployment: Deployment) -> None:
    answer = deployment.call("POST", "/tickets", {"request_id": 7, **ADD}, {"Idempotency-Key": '"7"'})

    assert answer.body["request_id"] == "7"


def test_a_key_without_a_value_is_as_good_as_none(deployment: Deployment) -> None:
    body = {"operation": None, "request_id": None, "ticket_id": None, "source": None, **UPDATE}

    answer = deployment.call("PATCH", "/tickets/42", body, {"Idempotency-Key": "mine"})

    assert answer.status == 202
    [request] = queued(deployment)
    assert (request["operation"], request["request_id"], request["ticket_id"]) == ("update", "mine", "42")


def test_an_idempotency_key_that_differs_from_the_body_is_refused_with_all_else_that_is_wrong(
    deployment: Deployment,
) -> None:
    body = {"request_id": "a", "bogus": 1, **ADD}

    answer = deployment.call("POST", "/tickets", body, {"Idempotency-Key": "b"})

    assert wrong(answer) == {
        "Idempotency-Key": "differs from request_id in the body",
        "bogus": "is not a known key",
    }
    assert deployment.waiting() == 0


@pytest.mark.parametrize("key", ["two words", "", '""', "schlüssel", "x" * 129, ["a", "b"]])
def test_an_unusable_idempotency_key_is_refused_by_its_name(
    deployment: Deployment, key: str | list[str]
) -> None:
    answer = deployment.call("POST", "/tickets", ADD, {"Idempotency-Key": key})

    assert list(wrong(answer)) == ["Idempotency-Key"]
    assert deployment.waiting() == 0


def test_an_unusable_request_id_is_refused_by_its_name(deployment: Deployment) -> None:
    answer = deployment.call("POST", "/tickets", {"request_id": "two words", **ADD})

    assert wrong(answer) == {"request_id": "must be printable ASCII without blanks"}
    assert deployment.waiting() == 0


# ── spellings and envelopes ──────────────────────────────────────────────────────────────────────────────

KAPTURE_ADD = {"title": "Late order", "ticket_details": "Since Monday", "email_id": "kim@example.com"}
NEUTRAL_ADD = {
    "title": "Late order",
    "details": "Since Monday",
    "requester": {"email": "kim@example.com"},
}


@pytest.mark.parametrize("body", [KAPTURE_ADD, [KAPTURE_ADD], {"ticket": KAPTURE_ADD}])
def test_an_add_may_be_spelt_as_for_kapture(deployment: Deployment, body: Any) -> None:
    assert deployment.call("POST", "/tickets", body).status == 202

    [request] = queued(deployment)
    assert (request["operation"], request["ticket"]) == ("add", NEUTRAL_ADD)


@pytest.mark.parametrize(
    "body",
    [
        {"sub_status": "PS", "comment": "Called back"},
        [{"ticket_id": "42", "sub_status": "PS", "comment": "Called back"}],
        {"ticket_id": 42, "changes": {"sub_status": "PS", "comment": "Called back"}},
        {"operation": "update", "changes": {"sub_status": "PS", "comment": "Called back"}},
    ],
)
def test_an_update_may_be_flat_as_for_kapture_and_may_repeat_the_id(
    deployment: Deployment, body: Any
) -> None:
    assert deployment.call("PATCH", "/tickets/42", body).status == 202

    [request] = queued(deployment)
    assert (request["operation"], request["ticket_id"]) == ("update", "42")
    assert request["changes"] == {"sub_status": "PS", "comment": "Called back"}


CLOUD_EVENT = {"specversion": "1.0", "type": "t", "id": "event-1", "source": "/shop", "data": ADD}
BUS_EVENT = {"id": "event-1", "source": "/shop", "detail-type": "Ticket Requested", "detail": ADD}


@pytest.mark.parametrize(("envelope", "request_id"), [(CLOUD_EVENT, "/shop#event-1"), (BUS_EVENT, "event-1")])
def test_an_event_lends_its_id_and_source_so_that_its_repeat_is_the_same_request(
    deployment: Deployment, envelope: Mapping[str, Any], request_id: str
) -> None:
    assert deployment.call("POST", "/tickets", envelope).body["request_id"] == request_id

    [request] = queued(deployment)
    assert (request["request_id"], request["source"], request["ticket"]) == (
        request_id,
        "/shop",
        {"title": "Printer on fire"},
    )


@pytest.mark.parametrize(
    ("headers", "request_id", "source"),
    [
        ({"id": "event-1", "source": "/shop"}, "/shop#event-1", "/shop"),
        ({"id": "event%201", "source": "/shop"}, None, "/shop"),
        ({"id": "x" * 200, "source": "https://example.com/" + "y" * 80}, None, "unknown"),
    ],
)
def test_an_event_whose_attributes_stand_in_headers_is_the_same_request_when_it_is_repeated(
    deployment: Deployment, headers: Mapping[str, str], request_id: str | None, source: str
) -> None:
    sent = {"ce-specversion": "1.0", **{f"Ce-{name.title()}": value for name, value in headers.items()}}
    first, again = (deployment.call("POST", "/tickets", ADD, sent).body["request_id"] for _ in range(2))

    assert first == again == (request_id or first)
    assert {request["source"] for request in queued(deployment)} == {source}


def test_two_sources_events_of_one_id_are_two_tickets(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    for source in ("/shop", "/crm"):
        deployment.call("POST", "/tickets", CLOUD_EVENT | {"source": source})
        deployment.send(CLOUD_EVENT | {"source": source})

    deployment.consume()

    assert len(kapture.tickets) == 2


def test_the_idempotency_key_goes_before_the_id_of_an_event(deployment: Deployment) -> None:
    answer = deployment.call("POST", "/tickets", CLOUD_EVENT, {"Idempotency-Key": "mine"})

    assert answer.body["request_id"] == "mine"


@pytest.mark.parametrize(
    ("method", "path", "body", "meant"),
    [
        ("POST", "/tickets", {"operation": "update", **ADD}, "add"),
        ("POST", "/tickets", {"operation": "delete", **ADD}, "add"),
        ("POST", "/tickets", {"ticket_id": "5", "sub_status": "PS"}, "add"),
        ("POST", "/tickets", {"ticket_ids": "5,6"}, "add"),
        ("PATCH", "/tickets/5", {"operation": "add", **UPDATE}, "update"),
        ("PATCH", "/tickets/5", {"ticket_ids": ["5"]}, "update"),
    ],
)
def test_a_path_takes_only_its_own_operation(
    deployment: Deployment, method: str, path: str, body: Any, meant: str
) -> None:
    fields = wrong(deployment.call(method, path, body))

    assert fields["operation"] == f"must be {meant} at this path"
    assert deployment.waiting() == 0


def test_an_id_in_the_body_that_differs_from_the_path_is_refused(deployment: Deployment) -> None:
    answer = deployment.call("PATCH", "/tickets/42", {"ticket_id": "43", **UPDATE})

    assert wrong(answer) == {"ticket_id": "differs from the path"}
    assert deployment.waiting() == 0


# ── bodies that cannot be read ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "{not json",
        "text",
        "null",
        '"text"',
        "[]",
        "[{}, {}]",
        '{"ticket": {"title": "x", "extra": {"n": NaN}}}',
        '{"ticket": {"title": "x", "extra": {"n": -Infinity}}}',
        "[" * 100_000 + "]" * 100_000,
        b'{"ticket": {"title": "\xff"}}',
        b"{not json",
    ],
    ids=lambda body: repr(body)[:24],
)
def test_a_body_that_is_no_json_object_is_400(deployment: Deployment, body: str | bytes | None) -> None:
    for method, path in (("POST", "/tickets"), ("PATCH", "/tickets/5")):
        assert list(wrong(deployment.call(method, path, body), 400, "not_json")) == ["body"]
    assert deployment.waiting() == 0


def test_a_body_that_is_nested_too_deeply_for_a_request_is_refused(deployment: Deployment) -> None:
    deep = '{"a":' * 2000 + "1" + "}" * 2000

    answer = deployment.call("POST", "/tickets", f'{{"ticket": {{"title": "x", "extra": {deep}}}}}')

    assert len(wrong(answer)) == 1
    assert deployment.waiting() == 0


def test_a_body_in_base64_is_read_as_it_was_sent(deployment: Deployment) -> None:
    body = json.dumps({"ticket": {"title": "Zürich – प्रिंटर"}}, ensure_ascii=False).encode()

    assert deployment.call("POST", "/tickets", body).status == 202
    assert queued(deployment)[0]["ticket"]["title"] == "Zürich – प्रिंटर"


@pytest.mark.parametrize("body", ["x" * 2 * 1024 * 1024, {"ticket": {"title": "प" * 700_000}}])
def test_a_body_of_two_mebibytes_is_413(deployment: Deployment, body: Any) -> None:
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)

    assert list(wrong(deployment.call("POST", "/tickets", text), 413, "too_large")) == ["body"]
    assert deployment.waiting() == 0


def test_a_body_of_the_largest_size_fits_into_the_queue(deployment: Deployment) -> None:
    frame = json.dumps({"ticket": {"title": "x", "details": ""}})
    details = "प" * ((1_000_000 - len(frame)) // 3)
    body = json.dumps({"ticket": {"title": "x", "details": details}}, ensure_ascii=False)
    assert 999_990 < len(body.encode()) <= 1_000_000

    assert deployment.call("POST", "/tickets", body).status == 202
    assert queued(deployment)[0]["ticket"]["details"] == details


def test_characters_that_sqs_refuses_reach_the_helpdesk_all_the_same(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    details = "a\uffff\ufffe\x07z"
    assert deployment.call("POST", "/tickets", {"ticket": {"title": "T", "details": details}}).status == 202

    records = deployment.receive()
    assert not {"\uffff", "\ufffe", "\x07"} & set(records[0]["body"])
    deployment.consume(records)
    assert [ticket.details.partition("\n")[0] for ticket in kapture.tickets] == [details]


# ── fields that are wrong ────────────────────────────────────────────────────────────────────────────────


def test_five_wrong_fields_and_unknown_keys_are_named_at_once(deployment: Deployment) -> None:
    body = {
        "source": "not a source",
        "bogus": 1,
        "ticket": {
            "title": "",
            "due_date": "soon",
            "requester": {"email": "nobody", "fax": "1"},
            "tags": "urgent",
            "colour": "red",
            "attachments": [{"url": "ftp://example.com/a"}],
        },
    }

    answer = deployment.call("POST", "/tickets", body)

    assert wrong(answer).keys() == {
        "source",
        "bogus",
        "ticket.title",
        "ticket.due_date",
        "ticket.requester.email",
        "ticket.requester.fax",
        "ticket.tags",
        "ticket.colour",
        "ticket.attachments.0.url",
    }
    assert deployment.waiting() == 0


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"ticket"}),
        ({"bogus": 1}, {"ticket", "bogus"}),
        ({"ticket": None}, {"ticket"}),
        ({"ticket": "Printer"}, {"ticket"}),
        ({"ticket": {}}, {"ticket.title"}),
        ({"ticket": {"title": "x"}, "changes": {"sub_status": "PS"}}, {"changes"}),
        ({"ticket": {"title": "x"}, "helpdesk": "elsewhere"}, {"helpdesk"}),
        ({"ticket_details": "no title"}, {"ticket.title"}),
    ],
)
def test_an_add_that_lacks_something_or_has_too_much_is_told_what(
    deployment: Deployment, body: Any, fields: set[str]
) -> None:
    assert wrong(deployment.call("POST", "/tickets", body)).keys() == fields
    assert deployment.waiting() == 0


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"changes"}),
        ({"changes": {}}, {"changes"}),
        ({"changes": {"bogus": 1}}, {"changes.bogus"}),
        ({"ticket": {"title": "x"}}, {"ticket", "changes"}),
        ({"changes": {"queue": "sales"}}, {"changes.sub_status"}),
        # What the model, the helpdesk and the path demand, all in one answer.
        (
            {"ticket_id": "6", "bogus": 1, "changes": {"queue": 5, "assignee": "kim", "callback_at": "soon"}},
            {
                "ticket_id",
                "bogus",
                "changes.queue",
                "changes.callback_at",
                "changes.sub_status",
                "changes.assignee",
            },
        ),
        ({"changes": {"sub_status": 5, "assignee": "kim"}}, {"changes.sub_status", "changes.assignee"}),
    ],
)
def test_an_update_is_told_all_that_is_wrong_for_us_and_for_the_helpdesk(
    deployment: Deployment, body: Any, fields: set[str]
) -> None:
    assert wrong(deployment.call("PATCH", "/tickets/5", body)).keys() == fields
    assert deployment.waiting() == 0


def test_an_id_in_the_path_that_cannot_be_one_is_refused(deployment: Deployment) -> None:
    answer = deployment.call("PATCH", "/tickets/5%2C6", UPDATE)

    assert wrong(answer) == {"ticket_id": "must be an id without blanks or commas"}
    assert deployment.waiting() == 0


# ── Prefer: wait ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "prefer", ["wait", "wait=", "wait=soon", "wait=26", "wait=100", "wait=-1", "wait=1.5"]
)
def test_a_bad_prefer_is_400_and_named_with_all_else_that_is_wrong(
    deployment: Deployment, prefer: str
) -> None:
    headers = {"Prefer": f"respond-async, {prefer}"}
    for body, fields in ((ADD, ["Prefer"]), ({"bogus": 1, **ADD}, ["Prefer", "bogus"])):
        assert (
            list(wrong(deployment.call("POST", "/tickets", body, headers), 400, "invalid_prefer")) == fields
        )
    unreadable = deployment.call("PATCH", "/tickets/5", "{", headers)
    assert list(wrong(unreadable, 400, "not_json")) == ["Prefer", "body"]
    assert deployment.waiting() == 0


@pytest.mark.parametrize("prefer", ["", "respond-async", "return=minimal", "wait=0", "waiting=x"])
def test_without_a_time_to_wait_the_answer_comes_at_once(deployment: Deployment, prefer: str) -> None:
    assert deployment.call("POST", "/tickets", ADD, {"Prefer": prefer}).status == 202
    assert deployment.waiting() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Prefer": "wait=20"},
        {"prefer": "respond-async, Wait = 20"},
        {"PREFER": 'return=minimal, wait="20"; x=y, wait=never'},
        {"Prefer": ["wait=20", "respond-async"]},
    ],
)
def test_an_add_that_is_waited_for_answers_with_the_ticket(
    deployment: Deployment, kapture: KaptureSimulator, headers: dict[str, Any]
) -> None:
    with consumer_running(deployment):
        answer = deployment.call("POST", "/tickets", {"request_id": "r1", **ADD}, headers)

    [ticket] = kapture.tickets
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/tickets/{ticket.ticket_id}"
    assert answer.body["outcome"] == "succeeded"
    assert (answer.body["request_id"], answer.body["ticket_id"]) == ("r1", ticket.ticket_id)
    assert answer.body["ticket_url"].endswith(ticket.page)


def test_an_update_that_is_waited_for_answers_200(deployment: Deployment, kapture: KaptureSimulator) -> None:
    ticket_id = added(deployment)

    with consumer_running(deployment):
        answer = deployment.call("PATCH", f"/tickets/{ticket_id}", UPDATE, {"Prefer": "wait=20"})

    assert answer.status == 200
    assert (answer.body["outcome"], answer.body["ticket_id"]) == ("succeeded", ticket_id)
    assert kapture.tickets[0].sub_status == "PS"


@pytest.mark.parametrize(
    ("fault", "status", "code", "outcome"),
    [
        (Fault(body='{"message":"no such queue","status":"failed"}'), 422, "refused_by_helpdesk", "rejected"),
        (Fault(status=404, body='{"message":"gone","status":"failed"}'), 404, "not_found", "rejected"),
        (Fault(status=500, act=True), 504, "http_500", "unknown"),
    ],
)
def test_a_waited_for_request_that_does_not_succeed_is_a_problem_with_its_request_id(
    deployment: Deployment, kapture: KaptureSimulator, fault: Fault, status: int, code: str, outcome: str
) -> None:
    kapture.faults.add(FaultRule(operation="update", fault=fault))
    body = {"request_id": "r1", "changes": {"sub_status": "PS", "comment": "Called back"}}

    with consumer_running(deployment):
        answer = deployment.call("PATCH", "/tickets/5", body, {"Prefer": "wait=20"})

    told = problem(answer, status, code)
    assert (told["request_id"], told["outcome"]) == ("r1", outcome)


def test_an_outcome_that_is_known_already_is_answered_without_a_consumer(deployment: Deployment) -> None:
    ticket_id = added(deployment, "r1")

    answer = deployment.call("POST", "/tickets", {"request_id": "r1", **ADD}, {"Prefer": "wait=20"})

    assert (answer.status, answer.body["ticket_id"]) == (201, ticket_id)


def test_what_takes_longer_than_the_wait_is_answered_202(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(fault=Fault(status=429, headers={"Retry-After": "60"})))
    began = time.monotonic()

    with consumer_running(deployment):
        answer = deployment.call("POST", "/tickets", {"request_id": "r1", **ADD}, {"Prefer": "wait=1"})

    assert time.monotonic() - began >= 1
    assert answer.status == 202
    assert answer.headers["location"] == "/v1/requests/r1"
    assert deployment.waiting() == 1


def test_the_wait_ends_before_the_function_does(deployment: Deployment) -> None:
    began = time.monotonic()

    answer = deployment.call("POST", "/tickets", ADD, {"Prefer": "wait=25"}, context=Context(5_000))

    assert time.monotonic() - began < 20
    assert answer.status == 202
    assert deployment.waiting() == 1


# ── tickets ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ticket_is_read_in_the_normalised_form(deployment: Deployment) -> None:
    ticket_id = added(deployment, details="Third floor")

    answer = deployment.call("GET", f"/tickets/{ticket_id}")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    [ticket] = answer.body["tickets"]
    assert answer.body["missing"] == []
    assert (ticket["ticket_id"], ticket["title"], ticket["helpdesk"]) == (
        ticket_id,
        "Printer on fire",
        "kapture",
    )
    assert ticket["url"].startswith("http")
    assert "raw" not in ticket
    assert deployment.waiting() == 0


@pytest.mark.parametrize("comma", [",", "%2C", ", ", ",,"])
def test_several_tickets_are_read_in_one_call_and_those_that_are_missing_are_named(
    deployment: Deployment, kapture: KaptureSimulator, comma: str
) -> None:
    ids = [added(deployment, "r1"), added(deployment, "r2")]

    answer = deployment.call("GET", f"/tickets/{comma.join([*ids, 'T1'])}")

    assert answer.status == 200
    assert [ticket["ticket_id"] for ticket in answer.body["tickets"]] == ids
    assert answer.body["missing"] == ["T1"]
    assert [call.operation for call in kapture.calls].count("get") == 1


def test_tickets_that_do_not_exist_are_404(deployment: Deployment) -> None:
    answer = deployment.call("GET", "/tickets/T%2F1,T2")

    assert problem(answer, 404, "ticket_not_found")["missing"] == ["T/1", "T2"]


def test_the_helpdesks_own_words_come_only_where_they_are_asked_for(deployment: Deployment) -> None:
    ticket_id = added(deployment)

    answer = deployment.call("GET", f"/tickets/{ticket_id}", query={"include": "raw"})

    [ticket] = answer.body["tickets"]
    assert ticket["raw"]["task_details"]["ticketId"] == ticket_id


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/tickets/T1", {"include": "everything"}, "include.0"),
        ("/tickets/,", {}, "ticket_ids"),
        ("/tickets/a%20b", {}, "ticket_ids.0"),
        (f"/tickets/{','.join(map(str, range(101)))}", {}, "ticket_ids"),
    ],
)
def test_a_read_that_asks_for_what_cannot_be_is_422(
    deployment: Deployment, kapture: KaptureSimulator, path: str, query: dict[str, str], field: str
) -> None:
    assert list(wrong(deployment.call("GET", path, query=query))) == [field]
    assert kapture.calls == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault(body='{"message":"ticket_ids are missing.","status":"failed"}'), 422, "refused_by_helpdesk"),
        (Fault(status=404, body='{"message":"No Data found","status":"failed"}'), 404, "not_found"),
        (Fault(status=404), 503, "not_the_helpdesk"),
        (Fault(status=500), 504, "http_500"),
    ],
)
def test_a_read_that_fails_tells_why(
    deployment: Deployment, kapture: KaptureSimulator, fault: Fault, status: int, code: str
) -> None:
    kapture.faults.add(FaultRule(operation="get", fault=fault))

    problem(deployment.call("GET", "/tickets/T1"), status, code)


def test_a_read_that_is_rate_limited_tells_when_to_come_back(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(fault=Fault(status=429, headers={"Retry-After": "7"})))

    answer = deployment.call("GET", "/tickets/T1")

    problem(answer, 503, "rate_limited")
    assert answer.headers["retry-after"] == "7"


def test_a_read_with_a_refused_token_is_502_and_shows_no_token(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(
        FaultRule(fault=Fault(status=401, body=f'{{"message":"bad key {TOKEN}","status":"failed"}}'))
    )

    answer = deployment.call("GET", "/tickets/T1")

    problem(answer, 502, "token_refused")
    assert TOKEN not in f"{answer.body}{answer.headers}"


# ── receipts ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_receipt_of_an_unknown_request_is_404(deployment: Deployment) -> None:
    problem(deployment.call("GET", "/requests/never"), 404, "unknown_request")


def test_a_receipt_of_a_request_that_succeeded_names_its_ticket(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    ticket_id = added(deployment, "r1")

    answer = deployment.call("GET", "/requests/r1")

    assert answer.status == 200
    assert answer.body["updated_at"].endswith("+00:00")
    assert {
        key: answer.body[key] for key in ("request_id", "operation", "state", "ticket_id", "attempts")
    } == {
        "request_id": "r1",
        "operation": "add",
        "state": "succeeded",
        "ticket_id": ticket_id,
        "attempts": 1,
    }


def test_a_receipt_of_a_request_that_was_rejected_says_why(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(fault=Fault(body='{"message":"no such queue","status":"failed"}')))
    deployment.send({"operation": "add", "request_id": "r1", **ADD})
    deployment.consume()

    body = deployment.call("GET", "/requests/r1").body

    assert (body["state"], body["code"], body["message"]) == (
        "rejected",
        "refused_by_helpdesk",
        "no such queue",
    )


def test_a_receipt_follows_a_request_while_it_is_carried_out_and_while_it_waits(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    kapture.faults.add(FaultRule(fault=Fault(status=429, headers={"Retry-After": "60"})))

    def state() -> str:
        text: str = deployment.call("GET", "/requests/r1").body["state"]
        return text

    with held(kapture, "add") as call, consumer_running(deployment):
        deployment.call("POST", "/tickets", {"request_id": "r1", **ADD})
        call.wait_for_arrival()
        assert state() == "in_progress"
        call.release()
        eventually(lambda: state() != "in_progress")

    assert state() == "waiting"


def test_a_receipt_that_cannot_be_read_now_is_503(deployment: Deployment) -> None:
    deployment.dynamodb.delete_table(TableName="ledger")

    answer = deployment.call("GET", "/requests/r1")

    problem(answer, 503, "ledger_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


# ── paths and methods ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/", "/elsewhere", "/ticket/5", "/tickets/5/comments", "/requests/r1/state"]
)
def test_an_unknown_path_is_404(deployment: Deployment, path: str) -> None:
    for method in ("GET", "POST", "PATCH"):
        problem(deployment.call(method, path, UPDATE), 404, "unknown_path")
    assert deployment.waiting() == 0


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/tickets", "POST"),
        ("PUT", "/tickets/", "POST"),
        ("POST", "/tickets/5", "GET, PATCH"),
        ("DELETE", "/tickets/5", "GET, PATCH"),
        ("OPTIONS", "/tickets/5", "GET, PATCH"),
        ("POST", "/requests/r1", "GET"),
        ("PATCH", "/requests/r1", "GET"),
        ("PUT", "/callbacks/kapture", "GET, POST"),
        ("GET", "/forms/contact", "POST"),
    ],
)
def test_a_wrong_method_is_405_and_tells_which_are_allowed(
    deployment: Deployment, method: str, path: str, allowed: str
) -> None:
    answer = deployment.call(method, path, ADD)

    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed
    assert deployment.waiting() == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/callbacks/kapture/"), ("POST", "/callbacks/kapture/secret/"), ("POST", "/forms/contact/")],
)
def test_a_method_that_the_path_takes_elsewhere_is_not_called_wrong(
    deployment: Deployment, method: str, path: str
) -> None:
    problem(deployment.call(method, path, ADD), 404, "unknown_path")


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> io.StringIO:
    """What the handlers log, at the most talkative level."""
    written = io.StringIO()
    for handler in logging.getLogger(invocation.logger.name).handlers:
        monkeypatch.setattr(handler, "stream", written)
    caplog.set_level(logging.DEBUG, invocation.logger.name)
    return written


def test_no_log_line_holds_what_was_sent_or_the_token(
    deployment: Deployment,
    kapture: KaptureSimulator,
    log: io.StringIO,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = {"title": "canary-title", "requester": {"email": "canary-mail@example.com"}}
    good = {"request_id": "log-1", "ticket": secret}
    headers = {"x-api-key": "canary-key", "Prefer": "wait=20"}
    with consumer_running(deployment):
        ticket_id = deployment.call("POST", "/tickets", good, headers).body["ticket_id"]
    deployment.call("GET", f"/tickets/{ticket_id}")
    deployment.call("POST", "/tickets", {"request_id": "log-1", "ticket": {"title": "canary-title-2"}})
    deployment.call("POST", "/tickets", {"ticket": secret | {"canary-key": "canary-value"}}, headers)
    deployment.call("POST", "/tickets", '{"ticket": {"title": "canary-title"')
    refusal = Fault(body='{"message":"canary-message","status":"failed"}')
    kapture.faults.add(FaultRule(operation="get", times=1, fault=refusal))
    deployment.call("GET", "/tickets/T1")
    kapture.token = "another"
    deployment.call("GET", "/tickets/T1")
    deployment.sqs.delete_queue(QueueUrl=deployment.requests)
    deployment.call("POST", "/tickets", {"ticket": secret})

    printed = capfd.readouterr()
    lines = log.getvalue() + printed.out + printed.err
    for code in (
        "request_id_reused",
        "invalid_request",
        "not_json",
        "refused_by_helpdesk",
        "token_refused",
        "queue_unavailable",
    ):
        assert code in lines
    assert "log-1" in lines
    assert "canary" not in lines + caplog.text.replace("log-1", "")
    assert TOKEN not in lines + caplog.text
