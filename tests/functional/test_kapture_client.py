"""The Kapture client over real HTTP: what it sends, and what it makes of every kind of answer."""

import json
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bridge.simulators.faults import LOGIN_PAGE, Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from helpdesk.clients.kapture.client import Kapture, kapture_keys_in
from helpdesk.clients.kapture.settings import KaptureSettings
from helpdesk.clients.secrets import Secret
from helpdesk.clients.transport import Transport
from helpdesk.errors import (
    FieldProblem,
    HelpdeskError,
    NotReachedError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import Attachment, Changes, NewTicket, Requester
from tests.functional.conftest import TOKEN
from tests.functional.scripted import (
    RESET,
    Raw,
    Reply,
    ScriptedServer,
    Silence,
    a_port_that_refuses,
    scripted,
)
from tests.waiting import LONG_S

# Nothing here speaks TLS; reading the authorities anew for each client would take most of the time.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TICKET_ID = "713516551148"
ADD_PATH = "/add-ticket-from-other-source.html/v.2.0"
UPDATE_PATH = "/update-ticket-from-other-source.html/v.2.0"
GET_PATH = "/search-ticket-by-ticket-id.html/v.2.0"
PULL_PATH = "/select-ticket-between-start-and-end-dates.html/v.2.0"
PAGE = "/employee/view-task-detail.html?detail=5/530348198/713516551148"
LIST_PAGE = "/employee/all-tickets.html?detail=2/530348198/713516551148"

ADDED = {
    "ticket": {"ticketId": TICKET_ID, "status": "P", "ticketURL": PAGE},
    "Additional_details": {},
    "due_date": "2024-04-19 14:19:11",
    "title": "TEST 1",
    "customer_id": 0,
    "ticket_id": TICKET_ID,
    "Ticket Id": TICKET_ID,
    "ticket_url": f"https://devapi.kapturecrm.com{PAGE}",
    "status": "success",
}
UPDATED = {
    "ticket": {
        "ticketId": TICKET_ID,
        "ticketURL": "/employee/all-tickets.html?detail=2/530348198/713516551148",
    },
    "Additional_details": {},
    "message": "Status and Comment have been updated.\n",
    "status": "success",
}
INVALID_KEY = Reply(body={"message": "Invalid Auth Key", "status": "failed"})


def task(ticket_id: str) -> dict[str, Any]:
    return {"additional_info": {}, "history": {}, "task_details": {"ticketId": ticket_id, "title": "x"}}


@dataclass
class Secrets:
    """As much of a Secrets Manager client as is used: the tokens it gives one after the other."""

    tokens: list[str | Exception]
    reads: int = 0

    def get_secret_value(self, **_: str) -> dict[str, str]:
        self.reads += 1
        given = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        if isinstance(given, Exception):
            raise given
        return {"SecretString": given, "VersionId": str(self.reads)}


def client(url: str, *tokens: str | Exception, read_timeout_s: float = LONG_S, **settings: Any) -> Kapture:
    return client_of(url, Secrets(list(tokens) or [TOKEN]), read_timeout_s, **settings)


def client_of(url: str, secrets: Any, read_timeout_s: float = LONG_S, **settings: Any) -> Kapture:
    transport = Transport(
        url, connect_timeout_s=LONG_S, read_timeout_s=read_timeout_s, connections=10, tls=NO_TLS
    )
    kapture = KaptureSettings.model_validate({"url": url, "secret_arn": "arn"} | settings, by_name=True)
    return Kapture(transport, Secret(secrets, "arn", kapture_keys_in), kapture)


def soon() -> float:
    return time.monotonic() + LONG_S


CALLS: dict[str, Callable[[Kapture], object]] = {
    "add": lambda kapture: kapture.add(NewTicket(title="Help"), soon()),
    "update": lambda kapture: kapture.update(TICKET_ID, Changes(sub_status="PS"), soon()),
    "get": lambda kapture: kapture.get([TICKET_ID], {}, soon()),
    "pull": lambda kapture: kapture.pull(datetime(2024, 4, 19, tzinfo=UTC).date(), soon()),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted() as server:
        yield server


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_add_is_one_ticket_in_a_list_with_the_token_as_it_is(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=ADDED))
    ticket = NewTicket.model_validate(
        {
            "title": "TEST 1",
            "details": "Über",
            "due_date": "2026-12-31",
            "requester": {"email": "a@example.com", "name": "A", "phone": "1", "customer_id": "2"},
            "queue": "q",
            "disposition": "Customer Support|Query",
            "extra": {"flow_id": "7", "issue_details": {"order": 5}},
        }
    )

    link = client(server.url, "dG9rZW4=").add(ticket, soon())

    assert (link.ticket_id, link.url) == (TICKET_ID, f"https://devapi.kapturecrm.com{PAGE}")
    (call,) = server.calls
    assert (call.method, call.path) == ("POST", ADD_PATH)
    assert call.headers["authorization"] == "Basic dG9rZW4="
    assert call.headers["content-type"] == "application/json"
    assert "x-api-key" not in call.headers
    assert call.json == [
        {
            "title": "TEST 1",
            "ticket_details": "Über",
            "due_date": "2026-12-31",
            "email_id": "a@example.com",
            "customer_name": "A",
            "phone": "1",
            "customer_id": "2",
            "queue": "q",
            "disposition": "Customer Support|Query",
            "flow_id": "7",
            "issue_details": {"order": 5},
        }
    ]


def test_what_has_no_field_in_kapture_is_kept_in_the_details(server: ScriptedServer) -> None:
    server.replies += [Reply(body=ADDED)] * 2
    kapture = client(server.url)
    files = (Attachment(url="https://x/1", name="photo"), Attachment(url="https://x/2"))

    kapture.add(NewTicket(title="x", details="Broken.", tags=("a", "b"), attachments=files), soon())
    kapture.add(NewTicket(title="x", requester=Requester(email="a@example.com")), soon())

    details = "Broken.\nTags: a, b\nAttachment: photo https://x/1\nAttachment: https://x/2"
    assert server.calls[0].json == [{"title": "x", "ticket_details": details}]
    assert server.calls[1].json == [{"title": "x", "email_id": "a@example.com"}]


def test_an_update_is_one_change_in_a_list_with_times_in_the_accounts_zone(server: ScriptedServer) -> None:
    server.replies += [Reply(body=UPDATED)] * 2
    kapture = client(server.url, sub_statuses={"closed": "CL"})
    full = {
        "sub_status": "closed",
        "queue": "q",
        "comment": "done",
        "callback_at": "2024-04-19T08:49:11Z",
        "disposition": "d",
        "extra": {"flow_id": "7"},
    }

    link = kapture.update(TICKET_ID, Changes.model_validate(full), soon())
    kapture.update(
        TICKET_ID, Changes.model_validate({"sub_status": "PS", "callback_at": "2024-04-19T14:19:11"}), soon()
    )

    assert link.ticket_id == TICKET_ID
    assert link.url == server.url + LIST_PAGE
    assert [call.path for call in server.calls] == [UPDATE_PATH] * 2
    assert server.calls[0].json == [
        {
            "ticket_id": TICKET_ID,
            "sub_status": "CL",
            "queue": "q",
            "comment": "done",
            "callback_time": "2024-04-19 14:19:11",
            "disposition": "d",
            "flow_id": "7",
        }
    ]
    assert server.calls[1].json == [
        {"ticket_id": TICKET_ID, "sub_status": "PS", "callback_time": "2024-04-19 14:19:11"}
    ]


def test_an_account_that_takes_objects_gets_no_list(server: ScriptedServer) -> None:
    server.replies += [Reply(body=ADDED), Reply(body=UPDATED)]
    kapture = client(server.url, bodies="object")

    CALLS["add"](kapture)
    CALLS["update"](kapture)

    assert [call.json for call in server.calls] == [
        {"title": "Help"},
        {"ticket_id": TICKET_ID, "sub_status": "PS"},
    ]


def test_names_of_queues_and_dispositions_become_the_accounts_keys(server: ScriptedServer) -> None:
    server.replies += [Reply(body=ADDED), Reply(body=UPDATED)]
    ids = {"queue": {"Support": "12"}, "disposition": {"Refunds": "A|B"}}
    kapture = client(server.url, ids=ids)

    kapture.add(NewTicket(title="Support", queue="Support", disposition="Refunds"), soon())
    kapture.update(TICKET_ID, Changes(sub_status="PS", queue="Sales", disposition="Refunds"), soon())

    assert server.calls[0].json == [{"title": "Support", "queue": "12", "disposition": "A|B"}]
    assert server.calls[1].json == [
        {"ticket_id": TICKET_ID, "sub_status": "PS", "queue": "Sales", "disposition": "A|B"}
    ]


def test_a_priority_goes_where_the_account_takes_it(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=ADDED))

    client(server.url, priority_field="urgency").add(NewTicket(title="x", priority="2"), soon())

    assert server.calls[0].json == [{"title": "x", "urgency": "2"}]


def test_a_priority_never_takes_the_place_of_a_field_that_we_send(server: ScriptedServer) -> None:
    server.replies += [Reply(body=ADDED), Reply(body=ADDED)]
    kapture = client(server.url, priority_field="title")

    kapture.add(NewTicket(title="x", priority="2"), soon())
    kapture.add(NewTicket(title="x"), soon())

    assert [call.json for call in server.calls] == [[{"title": "x"}]] * 2


def test_a_get_of_three_tickets_is_one_call_with_an_object(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=[task("3"), task("1"), task("2")]))

    tickets = client(server.url).get(["1", "2", "3"], {"conversation_type": "all"}, soon())

    (call,) = server.calls
    assert (call.path, call.json) == (GET_PATH, {"ticket_ids": "1,2,3", "conversation_type": "all"})
    assert {ticket.ticket_id for ticket in tickets} == {"1", "2", "3"}


def test_a_pull_asks_for_one_day_in_a_list(server: ScriptedServer) -> None:
    server.replies.append(Reply(body={"totalCount": None, "message": [], "status": "success"}))

    assert CALLS["pull"](client(server.url)) == []
    (call,) = server.calls
    assert (call.path, call.json) == (PULL_PATH, [{"start_date": "2024-04-19", "end_date": "2024-04-19"}])


def test_an_operator_can_ask_for_the_older_paths_and_the_second_header(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=ADDED))

    CALLS["add"](client(server.url, path_version="none", send_api_key=True))

    (call,) = server.calls
    assert call.path == ADD_PATH.removesuffix("/v.2.0")
    assert (call.headers["x-api-key"], call.headers["x-api-type"]) == (TOKEN, "TICKET")


def test_the_switches_of_a_get_cannot_change_which_tickets_are_asked_for(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=[]))

    client(server.url).get(["1"], {"ticket_ids": "2"}, soon())

    assert server.calls[0].json == {"ticket_ids": "1"}


DEFAULTS = Defaults(request_id="r", source="s", helpdesk="kapture")


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        (
            {"operation": "update", "ticket_id": "1", "changes": {"comment": "x", "assignee": "me"}},
            [
                ("changes.sub_status", "is required by kapture"),
                ("changes.assignee", "cannot be changed in kapture"),
            ],
        ),
        (
            {
                "operation": "update",
                "ticket_id": "1",
                "changes": {"sub_status": "PS", "extra": {"ticket_id": "2", "sub_status": "CL"}},
            },
            [
                ("changes.extra.ticket_id", "is set by another field already"),
                ("changes.extra.sub_status", "is set by another field already"),
            ],
        ),
        (
            {"operation": "add", "ticket": {"title": "x", "extra": {"title": "y"}}},
            [("ticket.extra.title", "is set by another field already")],
        ),
        (
            {"operation": "add", "ticket": {"title": "x", "priority": 1}},
            [("ticket.priority", "is not taken by this account: KapturePriorityField names no field for it")],
        ),
        (
            {"operation": "get", "ticket_ids": ["1"], "extra": {"ticket_ids": "2"}},
            [("extra.ticket_ids", "is set by another field already")],
        ),
    ],
)
def test_what_kapture_cannot_take_is_said_without_a_call(
    server: ScriptedServer, body: dict[str, Any], problems: list[tuple[str, str]]
) -> None:
    with pytest.raises(RejectedError) as caught:
        client(server.url).check(read_body(body, DEFAULTS))

    assert caught.value.problems == tuple(FieldProblem(*problem) for problem in problems)
    assert server.calls == []


# ── answers that are a success ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "url"),
    [
        (ADDED, f"https://devapi.kapturecrm.com{PAGE}"),
        ({"Ticket Id": TICKET_ID, "Status": "Success"}, None),
        ({"ticket_id": 713516551148, "status": "success", "ticket_url": PAGE}, "{server}" + PAGE),
        ({"ticket": {"ticketId": TICKET_ID, "ticketURL": PAGE}, "status": "success"}, "{server}" + PAGE),
        ([{"ticket_id": TICKET_ID, "status": "success"}], None),
    ],
    ids=["documented", "older", "number", "inner", "list of one"],
)
def test_the_new_tickets_id_is_found_in_every_form(
    server: ScriptedServer, answer: Any, url: str | None
) -> None:
    server.replies.append(Reply(body=answer))

    link = client(server.url).add(NewTicket(title="x"), soon())

    assert (link.ticket_id, link.url) == (TICKET_ID, url and url.format(server=server.url))


def test_a_success_is_one_whatever_the_http_code_between_200_and_299(server: ScriptedServer) -> None:
    server.replies.append(Reply(201, ADDED))

    assert client(server.url).add(NewTicket(title="x"), soon()).ticket_id == TICKET_ID


def test_a_get_reports_the_tickets_that_exist_and_no_other(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=[task("999999999999"), task("2"), {"task_details": {}}, "text", None]))

    tickets = client(server.url).get(["1", "2"], {}, soon())

    assert [ticket.ticket_id for ticket in tickets] == ["2"]


# ── answers that are none ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """An answer, and what it means for the call."""

    reply: Reply | Raw | Silence
    error: type[HelpdeskError]
    code: str
    message: str | None = None
    retry_after: float | None = None


def failed(message: str, status: int = 200, **headers: str) -> Reply:
    return Reply(status, {"message": message, "status": "failed"}, headers)


NO_QUEUE = "no such queue"
NO_SUCH_CALL = partial(Case, error=NotReachedError, code="not_the_helpdesk")
NOT_REACHED = (404, 405, 406, 407, 410, 411, 414, 415, 421, 426, 431)
CASES = {
    # Refused for good.
    "200-failed-body": Case(failed(NO_QUEUE), RejectedError, "refused_by_helpdesk", NO_QUEUE),
    "200-failed-capitalised": Case(
        Reply(body={"Message": "title is missing", "Status": "Fail"}),
        RejectedError,
        "refused_by_helpdesk",
        "title is missing",
    ),
    "200-failed-under-another-key": Case(
        Reply(body={"Customer Details": "does not exist in our sytsem.", "status": "failed"}),
        RejectedError,
        "refused_by_helpdesk",
        "does not exist in our sytsem.",
    ),
    "200-failed-in-a-list": Case(
        Reply(body=[{"message": NO_QUEUE, "status": "failed"}]),
        RejectedError,
        "refused_by_helpdesk",
        NO_QUEUE,
    ),
    "400": Case(failed("Invalid Json.", 400), RejectedError, "refused_by_helpdesk", "Invalid Json."),
    "404": Case(failed("No Data found", 404), RejectedError, "not_found", "No Data found"),
    "409": Case(failed("in use", 409), RejectedError, "conflict", "in use"),
    "413": Case(failed("too long", 413), RejectedError, "too_large", "too long"),
    "413-html": Case(Reply(413, "<html>Too Large</html>"), RejectedError, "too_large", "HTTP 413"),
    "422": Case(failed(NO_QUEUE, 422), RejectedError, "refused_by_helpdesk", NO_QUEUE),
    "failed-quotes-our-words": Case(
        failed("title 'Invalid Auth Key, server error' is too long"), RejectedError, "refused_by_helpdesk"
    ),
    # Our token is refused.
    "invalid-auth-key": Case(INVALID_KEY, UnauthorizedError, "token_refused", "Invalid Auth Key"),
    "invalid-auth-key-500": Case(failed("Invalid Auth Key", 500), UnauthorizedError, "token_refused"),
    "auth-key-expired": Case(
        Reply(body={"Message": "Auth Key Expired", "Status": "Fail"}), UnauthorizedError, "token_refused"
    ),
    "auth-key-invalid": Case(failed("AuthKeyInvalid"), UnauthorizedError, "token_refused"),
    "api-expired": Case(failed("APIExpired"), UnauthorizedError, "token_refused"),
    "401": Case(Reply(401), UnauthorizedError, "token_refused"),
    "403": Case(Reply(403, "<html>Forbidden</html>"), UnauthorizedError, "token_refused"),
    "200-html-login-page": Case(Reply(body=LOGIN_PAGE), UnauthorizedError, "login_page"),
    "302-to-login": Case(
        Reply(302, headers={"Location": "/employee/login"}), UnauthorizedError, "login_page"
    ),
    # Nothing was done.
    **{f"{status}-html": NO_SUCH_CALL(Reply(status, "<html>No</html>")) for status in NOT_REACHED},
    "404-empty": NO_SUCH_CALL(Reply(404)),
    "404-json": NO_SUCH_CALL(Reply(404, {"status": 404, "error": "Not Found", "path": "/"})),
    "404-list": NO_SUCH_CALL(Reply(404, [{"message": "no route"}])),
    "302-to-other-host": Case(
        Reply(302, headers={"Location": "https://example.com/"}), UnavailableError, "redirected"
    ),
    "429": Case(failed("slow down", 429), UnavailableError, "rate_limited", "slow down"),
    "429-seconds": Case(
        Reply(429, headers={"Retry-After": "7"}), UnavailableError, "rate_limited", retry_after=7
    ),
    "429-negative": Case(Reply(429, headers={"Retry-After": "-7"}), UnavailableError, "rate_limited"),
    "429-nonsense": Case(Reply(429, headers={"Retry-After": "soon"}), UnavailableError, "rate_limited"),
    "429-nan": Case(Reply(429, headers={"Retry-After": "nan"}), UnavailableError, "rate_limited"),
    "429-past": Case(
        Reply(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), UnavailableError, "rate_limited"
    ),
    "429-absurd": Case(
        Reply(429, headers={"Retry-After": "1e300"}), UnavailableError, "rate_limited", retry_after=86400
    ),
    "429-absurd-date": Case(
        Reply(429, headers={"Retry-After": f"Wed, 21 Oct 2015 07:28:00 +{'9' * 30}"}),
        UnavailableError,
        "rate_limited",
    ),
    "503-with-retry-after": Case(
        Reply(503, headers={"Retry-After": "30"}), UnavailableError, "helpdesk_down", retry_after=30
    ),
    # It may have been done.
    "404-success": Case(Reply(404, ADDED), OutcomeUnknownError, "http_404"),
    "400-html": Case(Reply(400, "<html>Bad</html>"), OutcomeUnknownError, "http_400", "HTTP 400"),
    "409-empty": Case(Reply(409), OutcomeUnknownError, "http_409"),
    "422-json": Case(Reply(422, {"errors": {"title": "long"}}), OutcomeUnknownError, "http_422"),
    "500": Case(Reply(500, "<html>Error</html>"), OutcomeUnknownError, "http_500"),
    "500-failed": Case(failed("title is missing", 500), OutcomeUnknownError, "http_500", "title is missing"),
    "502": Case(Reply(502), OutcomeUnknownError, "http_502"),
    "503": Case(Reply(503), OutcomeUnknownError, "http_503"),
    "504": Case(Reply(504), OutcomeUnknownError, "http_504"),
    "204": Case(Reply(204), OutcomeUnknownError, "unreadable_answer"),
    "408": Case(Reply(408), OutcomeUnknownError, "http_408"),
    "200-server-failure": Case(failed("ServerFailure"), OutcomeUnknownError, "helpdesk_failed"),
    "200-empty": Case(Reply(), OutcomeUnknownError, "unreadable_answer"),
    "200-invalid-json": Case(Reply(body="success"), OutcomeUnknownError, "unreadable_answer"),
    "200-truncated-json": Case(Reply(body=json.dumps(ADDED)[:-9]), OutcomeUnknownError, "unreadable_answer"),
    "200-bad-utf-8": Case(Reply(body=b'{"a": "\xff"}'), OutcomeUnknownError, "unreadable_answer"),
    "200-deep-json": Case(Reply(body="[" * 100_000), OutcomeUnknownError, "unreadable_answer"),
    # A page that asks for no log-in may hide an answer.
    "200-html-error-page": Case(
        Reply(body="<html><body>Something went wrong</body></html>"), OutcomeUnknownError, "unreadable_answer"
    ),
    "200-neither": Case(Reply(body={"status": "queued"}), OutcomeUnknownError, "unexpected_answer"),
    "200-no-status": Case(Reply(body={"ticket_id": "1"}), OutcomeUnknownError, "unexpected_answer"),
    "200-number": Case(Reply(body=5), OutcomeUnknownError, "unexpected_answer"),
    "reset": Case(RESET, OutcomeUnknownError, "connection_lost"),
    "read-timeout": Case(Silence(), OutcomeUnknownError, "read_timeout"),
    "slow-drip-body": Case(
        Raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 500, interval_s=0.05), OutcomeUnknownError, "read_timeout"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_answer_is_understood_and_the_call_made_once(server: ScriptedServer, case: Case) -> None:
    server.replies.append(case.reply)
    read_timeout_s = 0.5 if case.code == "read_timeout" else LONG_S

    with pytest.raises(case.error) as caught:
        CALLS["add"](client(server.url, read_timeout_s=read_timeout_s))

    error = caught.value
    assert type(error) is case.error
    assert error.code == case.code
    assert case.message in (None, error.message)
    assert server.arrived.acquire(timeout=LONG_S)
    assert len(server.calls) == 1
    if isinstance(error, UnavailableError):
        assert error.retry_after == case.retry_after


@every_call
@pytest.mark.parametrize(
    "name",
    ["200-failed-body", "invalid-auth-key", "302-to-other-host", "429", "500", "200-empty", "200-neither"],
)
def test_an_answer_means_the_same_for_every_operation(
    server: ScriptedServer, name: str, call: Callable[[Kapture], object]
) -> None:
    server.replies.append(CASES[name].reply)

    with pytest.raises(CASES[name].error) as caught:
        call(client(server.url))

    assert caught.value.code == CASES[name].code
    assert len(server.calls) == 1


@every_call
def test_a_helpdesk_that_cannot_be_reached_has_done_nothing(call: Callable[[Kapture], object]) -> None:
    with a_port_that_refuses() as port, pytest.raises(UnavailableError) as caught:
        call(client(f"http://127.0.0.1:{port}"))

    assert caught.value.code == "connect_refused"


def test_retry_after_may_be_a_date(server: ScriptedServer) -> None:
    at = datetime.now(UTC) + timedelta(seconds=600)
    server.replies.append(Reply(429, headers={"Retry-After": format_datetime(at, usegmt=True)}))

    with pytest.raises(UnavailableError) as caught:
        CALLS["add"](client(server.url))

    assert caught.value.retry_after is not None
    assert 500 < caught.value.retry_after <= 600


@pytest.mark.parametrize(
    "answer",
    [
        {"Message": "Ticket Added Successfully", "Status": "Success"},
        {"ticket_id": "", "Ticket Id": 0, "ticket": {}, "status": "success"},
    ],
)
def test_a_success_without_an_id_is_in_doubt(server: ScriptedServer, answer: dict[str, Any]) -> None:
    server.replies.append(Reply(body=answer))

    with pytest.raises(OutcomeUnknownError) as caught:
        CALLS["add"](client(server.url))

    assert caught.value.code == "no_ticket_id"


def test_an_update_that_is_answered_with_another_ticket_is_in_doubt(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=UPDATED | {"ticket": {"ticketId": "999999999999"}}))

    with pytest.raises(OutcomeUnknownError) as caught:
        CALLS["update"](client(server.url))

    assert caught.value.code == "wrong_ticket_id"


def test_an_update_that_is_answered_without_a_ticket_is_believed(server: ScriptedServer) -> None:
    server.replies += [
        Reply(body={"status": "Success"}),
        Reply(body=UPDATED | {"ticket": {"ticketId": int(TICKET_ID)}}),
    ]
    kapture = client(server.url)

    for _ in range(2):
        assert kapture.update(TICKET_ID, Changes(sub_status="PS"), soon()).ticket_id == TICKET_ID


@pytest.mark.parametrize("operation", ["get", "pull"])
def test_a_success_without_a_list_of_tickets_is_not_taken_for_none(
    server: ScriptedServer, operation: str
) -> None:
    server.replies.append(Reply(body={"status": "success"}))

    with pytest.raises(OutcomeUnknownError) as caught:
        CALLS[operation](client(server.url))

    assert caught.value.code == "unexpected_answer"


def test_a_message_of_any_length_is_cut(server: ScriptedServer) -> None:
    server.replies.append(failed("x" * 1_000_000))

    with pytest.raises(RejectedError) as caught:
        CALLS["add"](client(server.url))

    assert len(caught.value.message) == 500


@every_call
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed_with_our_token(
    server: ScriptedServer, status: int, call: Callable[[Kapture], object]
) -> None:
    with scripted() as other:
        server.replies.append(Reply(status, headers={"Location": f"{other.url}/elsewhere"}))

        with pytest.raises(UnavailableError):
            call(client(server.url))

        assert other.connections == 0
    assert len(server.calls) == 1


@pytest.mark.parametrize("operation", ["get", "pull"])
@pytest.mark.parametrize("item", [{"error": "not here"}, 5, "text", None])
def test_a_list_of_something_else_does_not_mean_that_there_are_no_tickets(
    server: ScriptedServer, operation: str, item: Any
) -> None:
    server.replies.append(
        Reply(body=[item] if operation == "get" else {"status": "success", "message": [item]})
    )

    with pytest.raises(OutcomeUnknownError) as caught:
        CALLS[operation](client(server.url))

    assert caught.value.code == "unexpected_answer"


# ── comments ─────────────────────────────────────────────────────────────────────────────────────────────


def test_comments_are_read_where_the_account_shows_them(kapture: KaptureSimulator, kapture_url: str) -> None:
    kapture.switches = KaptureSwitches(notes_returned=True)
    readable, unread = client(kapture_url, comments_readable=True), client(kapture_url)
    ticket_id = unread.add(NewTicket(title="x"), soon()).ticket_id
    for comment in ("first", "second"):
        unread.update(ticket_id, Changes(sub_status="PS", comment=comment), soon())
    kapture.calls.clear()

    assert unread.comments(ticket_id, soon()) is None
    assert kapture.calls == []
    assert readable.comments(ticket_id, soon()) == ["first", "second"]


@pytest.mark.parametrize(
    "answer",
    [
        Reply(body=[task("1")]),
        Reply(body=[task("1") | {"conversation_type": {"notes": "none"}}]),
        # As many as a page may hold.
        Reply(body=[task("1") | {"conversation_type": {"notes": [{"detail": "x"}] * 50}}]),
        Reply(body={"message": "history_type is not allowed", "status": "failed"}),
    ],
    ids=["no notes", "no list", "perhaps a page", "refused"],
)
def test_comments_that_are_perhaps_not_all_are_none(server: ScriptedServer, answer: Reply) -> None:
    server.replies.append(answer)

    assert client(server.url, comments_readable=True).comments("1", soon()) is None


def test_a_ticket_that_is_not_shown_says_nothing_of_its_comments(server: ScriptedServer) -> None:
    server.replies.append(Reply(body=[]))

    with pytest.raises(OutcomeUnknownError):
        client(server.url, comments_readable=True).comments("1", soon())


# ── pages of a pull ──────────────────────────────────────────────────────────────────────────────────────


def page(*ticket_ids: str) -> Reply:
    items = [{"ticketId": ticket_id} for ticket_id in ticket_ids]
    return Reply(body={"totalCount": None, "message": items, "status": "success"})


def pulled(server: ScriptedServer, limit: int) -> list[str]:
    day = datetime(2024, 4, 19, tzinfo=UTC).date()
    return [ticket.ticket_id for ticket in client(server.url, pull_limit=limit).pull(day, soon())]


def test_an_account_with_pages_is_asked_until_nothing_new_comes(server: ScriptedServer) -> None:
    server.replies += [page("1", "2"), page("3"), page()]

    assert pulled(server, limit=2) == ["1", "2", "3"]
    pages = [(call.json[0]["limit"], call.json[0]["offset"]) for call in server.calls]
    assert pages == [(2, 0), (2, 2), (2, 3)]


def test_an_account_that_ignores_the_offset_is_not_asked_for_ever(server: ScriptedServer) -> None:
    server.replies += [page("1", "2")] * 5

    assert pulled(server, limit=2) == ["1", "2"]
    assert len(server.calls) == 2


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("secret", ["a-token", ' {"token": " a-token "} ', '{"token":"a-token","note":"x"}'])
def test_the_secret_is_a_token_or_an_object_with_one(server: ScriptedServer, secret: str) -> None:
    server.replies.append(Reply(body=ADDED))

    CALLS["add"](client(server.url, secret))

    assert server.calls[0].headers["authorization"] == "Basic a-token"


@pytest.mark.parametrize(
    "secret",
    ["", "  ", '{"key": "x"}', '{"token": 5}', '{"token": ""}', "{broken", "two\nlines", "\u20acuro"],
)
def test_a_malformed_secret_is_a_refused_token_and_no_call_is_made(
    server: ScriptedServer, secret: str
) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        CALLS["add"](client(server.url, secret))

    assert caught.value.code == "secret_malformed"
    assert server.calls == []


@pytest.mark.parametrize(
    "trouble",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue"),
        EndpointConnectionError(endpoint_url="https://x"),
    ],
    ids=["throttled", "unreachable"],
)
def test_a_secret_that_cannot_be_read_now_is_read_at_the_next_call(
    server: ScriptedServer, trouble: Exception
) -> None:
    server.replies.append(Reply(body=ADDED))
    kapture = client(server.url, trouble, TOKEN)

    with pytest.raises(UnavailableError) as caught:
        CALLS["add"](kapture)
    assert caught.value.code == "secret_unreadable"
    assert server.calls == []

    CALLS["add"](kapture)
    assert len(server.calls) == 1


def test_the_secret_is_read_once_for_many_calls(server: ScriptedServer) -> None:
    server.replies += [Reply(body=ADDED)] * 3
    secrets = Secrets([TOKEN])
    kapture = client_of(server.url, secrets)

    for _ in range(3):
        CALLS["add"](kapture)

    assert secrets.reads == 1


@every_call
@pytest.mark.parametrize(
    "refusal",
    [INVALID_KEY, Reply(401), Reply(body=LOGIN_PAGE), Reply(302, headers={"Location": "/login"})],
    ids=["failed body", "401", "login page", "redirect to log-in"],
)
def test_a_rotated_token_is_read_and_the_call_repeated_once(
    server: ScriptedServer, refusal: Reply, call: Callable[[Kapture], object]
) -> None:
    server.replies += [refusal, CASES["429"].reply]
    secrets = Secrets(["old", "new"])

    # The second answer is what the call comes to.
    with pytest.raises(UnavailableError):
        call(client_of(server.url, secrets))

    assert [call.headers["authorization"] for call in server.calls] == ["Basic old", "Basic new"]
    assert server.calls[0].body == server.calls[1].body
    assert secrets.reads == 2


def test_a_new_token_that_is_refused_as_well_is_the_end_of_it(server: ScriptedServer) -> None:
    server.replies += [INVALID_KEY] * 5
    secrets = Secrets(["old", "new", "newer"])

    with pytest.raises(UnauthorizedError):
        CALLS["add"](client_of(server.url, secrets))

    assert (len(server.calls), secrets.reads) == (2, 2)


def test_a_token_that_is_still_the_same_is_not_tried_again(server: ScriptedServer) -> None:
    server.replies += [INVALID_KEY] * 5
    secrets = Secrets(["old"])
    kapture = client_of(server.url, secrets)

    for calls, reads in ((1, 2), (2, 3)):
        with pytest.raises(UnauthorizedError):
            CALLS["add"](kapture)
        assert (len(server.calls), secrets.reads) == (calls, reads)


def raised_by(call: Callable[[], object]) -> HelpdeskError | None:
    try:
        call()
    except HelpdeskError as error:
        return error
    return None


def ten_at_once(kapture: Kapture) -> list[HelpdeskError | None]:
    with ThreadPoolExecutor(10) as pool:
        return list(pool.map(lambda _: raised_by(lambda: CALLS["add"](kapture)), range(10)))


def test_ten_calls_that_are_refused_together_read_the_secret_once(server: ScriptedServer) -> None:
    refused = Reply(body=INVALID_KEY.body, together=threading.Barrier(10))
    server.replies += [*[refused] * 10, *[Reply(body=ADDED)] * 10]
    secrets = Secrets(["old", "new"])

    assert ten_at_once(client_of(server.url, secrets)) == [None] * 10

    sent = [call.headers["authorization"] for call in server.calls]
    assert sent == ["Basic old"] * 10 + ["Basic new"] * 10
    assert secrets.reads == 2


def test_ten_calls_do_not_wait_for_secrets_manager_one_after_the_other(server: ScriptedServer) -> None:
    class Slow:
        reads = 0

        def get_secret_value(self, **_: str) -> dict[str, str]:
            self.reads += 1
            # The others arrive while the first one waits.
            together.wait(LONG_S) if self.reads == 1 else None
            raise EndpointConnectionError(endpoint_url="https://x")

    together = threading.Barrier(2)
    secrets = Slow()
    kapture = client_of(server.url, secrets)
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(raised_by, lambda: CALLS["add"](kapture)) for _ in range(10)]
        together.wait(LONG_S)
        codes = [error.code if (error := call.result()) else None for call in waiting]

    assert codes == ["secret_unreadable"] * 10
    # Those that came after the first had asked may ask once more, for all of them.
    assert secrets.reads <= 2


CANARY = "canary-7d1f-token"


@pytest.mark.parametrize(
    "reply",
    [
        failed(f"key {CANARY} may not add"),
        failed(f"Invalid Auth Key {CANARY}"),
        failed(f"{CANARY} is too fast", 429),
        failed(f"ServerFailure for {CANARY}"),
        Reply(500, {"message": f"{CANARY}", "status": "failed"}),
        Reply(302, headers={"Location": f"https://example.com/?key={CANARY}"}),
        Reply(body=f"<html>login {CANARY}</html>"),
        Reply(body={"status": CANARY}),
        RESET,
    ],
)
def test_the_token_is_in_no_text_of_an_error(server: ScriptedServer, reply: Reply | Raw) -> None:
    server.replies += [reply] * 2

    with pytest.raises(HelpdeskError) as caught:
        CALLS["add"](client(server.url, CANARY))

    assert CANARY not in str(caught.value)
    assert CANARY not in caught.value.message
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_malformed_secret_is_not_quoted(server: ScriptedServer) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        CALLS["add"](client(server.url, f'{{"key": "{CANARY}"}}'))

    assert CANARY not in "".join(traceback.format_exception(caught.value))


# ── against the simulated account ────────────────────────────────────────────────────────────────────────


def _today(helpdesk: Kapture) -> date:
    return datetime.now(helpdesk.zone).date()


def test_a_ticket_goes_through_its_life(kapture: KaptureSimulator, kapture_url: str) -> None:
    helpdesk = client(kapture_url)
    requester = Requester(email="a@example.com", name="R&D's", phone="1")

    links = [
        helpdesk.add(NewTicket(title=f"T{n}", details="d", requester=requester), soon()) for n in range(3)
    ]
    ids = [link.ticket_id for link in links]
    helpdesk.update(ids[1], Changes(sub_status="RS", comment="done", queue="q"), soon())
    kapture.calls.clear()
    tickets = {ticket.ticket_id: ticket for ticket in helpdesk.get([*ids, "1"], {}, soon())}
    today = datetime.now(helpdesk.zone).date()

    assert [call.operation for call in kapture.calls] == ["get"]
    assert set(tickets) == set(ids)
    assert [tickets[ticket_id].url for ticket_id in ids] == [link.url for link in links]
    assert (tickets[ids[1]].status, tickets[ids[0]].status) == ("Complete", "Pending")
    assert (tickets[ids[1]].title, tickets[ids[1]].queue) == ("T1", "q")
    assert [ticket.comments for ticket in kapture.tickets] == [[], ["done"], []]
    assert [ticket.ticket_id for ticket in helpdesk.pull(today, soon())] == ids
    assert {ticket.requester.name for ticket in helpdesk.pull(today, soon()) if ticket.requester} == {"R&D's"}


def test_texts_are_unescaped_where_the_account_escapes_them(
    kapture: KaptureSimulator, kapture_url: str
) -> None:
    kapture.switches = KaptureSwitches(escaped="all")
    helpdesk = client(kapture_url, escaped_texts=True)
    ticket_id = helpdesk.add(NewTicket(title="It's <b>", details="R&amp;D's"), soon()).ticket_id

    for ticket in [*helpdesk.get([ticket_id], {}, soon()), *helpdesk.pull(_today(helpdesk), soon())]:
        assert (ticket.title, ticket.details) == ("It's <b>", "R&amp;D's")


@pytest.mark.parametrize("status", [200, "by_cause"])
def test_what_the_account_refuses_is_rejected_with_its_own_words(
    kapture: KaptureSimulator, kapture_url: str, status: Any
) -> None:
    kapture.switches = KaptureSwitches(failure_status=status)

    with pytest.raises(RejectedError) as caught:
        client(kapture_url).update("1", Changes(sub_status="PS"), soon())

    assert caught.value.message == "No Data found/ticket_id is missing"


def test_every_page_of_a_pull_is_read_whatever_its_message_is(
    kapture: KaptureSimulator, kapture_url: str
) -> None:
    kapture.switches = KaptureSwitches(pull_message="varying")
    helpdesk = client(kapture_url, pull_limit=2)
    today = datetime.now(helpdesk.zone).date()
    ids: list[str] = []
    for _ in range(4):
        assert [ticket.ticket_id for ticket in helpdesk.pull(today, soon())] == ids
        ids.append(helpdesk.add(NewTicket(title="x"), soon()).ticket_id)


def test_the_older_generation_is_understood(kapture: KaptureSimulator, kapture_url: str) -> None:
    helpdesk = client(kapture_url, path_version="none")

    link = helpdesk.add(NewTicket(title="old"), soon())
    (ticket,) = helpdesk.pull(datetime.now(helpdesk.zone).date(), soon())

    assert (ticket.ticket_id, ticket.title, ticket.status) == (link.ticket_id, "old", None)


@pytest.mark.parametrize("answer", ["numeric_id", "wrong_id", "without_id"])
def test_ids_of_an_add_are_texts_and_never_invented(
    kapture: KaptureSimulator, kapture_url: str, answer: Any
) -> None:
    kapture.faults.add(FaultRule(operation="add", fault=Fault(answer=answer)))

    def added() -> str:
        return client(kapture_url).add(NewTicket(title="x"), soon()).ticket_id

    if answer == "without_id":
        with pytest.raises(OutcomeUnknownError):
            added()
    else:
        assert added() == (kapture.tickets[0].ticket_id if answer == "numeric_id" else "999999999999")
    assert len(kapture.tickets) == 1
