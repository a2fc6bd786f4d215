"""The Socialboards simulator over real HTTP: tokens, the vendor's key sets, every switch, webhooks.

What all simulators share (faults, the log of calls, control, running) is in test_kapture_simulator.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from bridge.simulators.socialboards.account import SocialboardsSimulator
from bridge.simulators.socialboards.calls import ROUTES
from bridge.simulators.socialboards.directory import REFERENCE, REGION, ROBERT, STAFF
from bridge.simulators.socialboards.switches import SocialboardsSwitches
from tests.functional.scripted import Reply, ScriptedServer, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.simulators.socialboards.tickets import Ticket

REFRESH_TOKEN = "a-refresh-token="
CLIENT_ID = "a-client"
GRANT = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN, "client_id": CLIENT_ID}
UNKNOWN_ID = 1

# 6 December 2023, 14:42:07 in UTC.
SAMPLE_TIME = 1701873727.5
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}[+-]\d\d:\d\d")

DOCUMENTED_ADD = {
    "assigneeId": ROBERT.id,
    "attachments": [{"url": "https://your.attachment.url/filename.png", "name": "filename.png"}],
    "categoryId": 15597,
    "cc": ["ann_smith@example.com"],
    "creator": {"name": "Bill Smith", "email": "bill@example.com", "image": None, "phoneNumber": None},
    "customFields": [{"id": REGION.id, "value": "Oslo"}],
    "message": "Hello I want to buy a new car, how can I get a price list?",
    "sentiment": "question",
    "tags": [],
    "title": "New car price list.",
}


def keys(text: str) -> set[str]:
    """Key names out of a text, so that the vendor's long lists stay readable."""
    return set(text.split())


TICKET_KEYS = keys("""
    id title message htmlMessage author category creationTime customFields lastThreadElementCreationTime
    lockedBy originalLink properties replyCount isMuted sentiment source detailedSource sourceName status
    tags attachments
""")
PROPERTY_KEYS = keys("""
    isAnonymized isMuted hasAttachments hasDraft isAssignedToBot isDeleted isExpired isHidden isLocked isSpam
    isSensitive
""")
USER_KEYS = keys("customIdentifier email id image isBot name status")
CUSTOM_FIELD_KEYS = keys("""
    assignedCategoryIds defaultValue id isHidden isRequired isSensitiveData name order placeholder
    possibleValues type value
""")
WEBHOOK_TICKET_KEYS = {key[0].upper() + key[1:] for key in TICKET_KEYS}


class FakeClock:
    """A clock that tests set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Account:
    """A simulated account with a client of the test's own, which holds one access token."""

    simulator: SocialboardsSimulator
    clock: FakeClock
    url: str
    session: requests.Session
    token: str = ""

    def mint(self, **fields: str) -> requests.Response:
        return self.session.post(self.url + "/token", data=GRANT | fields, timeout=5)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        self.token = self.token or self.mint().json()["access_token"]
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.session.request(method, self.url + path, headers=headers, timeout=5, **options)

    def answer(self, method: str, path: str, content: object = None, **options: Any) -> Any:
        """The whole answer, whatever it says."""
        return self.call(method, path, json=content, **options).json()

    def result(self, method: str, path: str, content: object = None, **options: Any) -> Any:
        """What a successful call answers under `data`."""
        answer = self.answer(method, path, content, **options)
        assert (answer["errorCode"], answer["errorText"]) == (-1, None)
        return answer["data"]

    def added_id(self, **fields: object) -> int:
        return int(self.result("POST", "/tickets", {"title": "TEST 1", **fields}))

    def shown(self, ticket_id: int) -> Any:
        return self.result("GET", f"/tickets/{ticket_id}")

    def listed_ids(self, **filters: object) -> list[int]:
        return [ticket["id"] for ticket in self.result("POST", "/tickets/list", filters)]

    def refusal(self, method: str, path: str, content: object = None, **options: Any) -> str:
        """The text of a call that is answered with status 200 and a positive code."""
        response = self.call(method, path, json=content, **options)
        answer = response.json()
        assert (response.status_code, answer["data"]) == (200, None)
        assert answer["errorCode"] > 0
        return str(answer["errorText"])

    def switch(self, **switches: Any) -> None:
        self.simulator.switches = SocialboardsSwitches(**switches)

    @property
    def stored(self) -> Ticket:
        [ticket] = self.simulator.tickets
        return ticket

    def received(self, operation: str) -> int:
        return Counter(call.operation for call in self.simulator.calls)[operation]


@pytest.fixture
def account() -> Iterator[Account]:
    clock = FakeClock(SAMPLE_TIME)
    simulator = SocialboardsSimulator(token=REFRESH_TOKEN, client_id=CLIENT_ID, clock=clock)
    with running(simulator.app()) as url, requests.Session() as session:
        yield Account(simulator, clock, url, session)


# Tokens


def test_mint_answers_the_documented_keys_and_values(account: Account) -> None:
    response = account.mint()
    answer = response.json()

    assert response.status_code == 200
    assert set(answer) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 3599)
    assert answer["refresh_token"] == REFRESH_TOKEN
    assert answer["access_token"].count(".") == 2
    assert account.mint().json()["access_token"] != answer["access_token"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"refresh_token": "other"}, "invalid_grant"),
        ({"client_id": "other"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"refresh_token": ""}, "invalid_request"),
    ],
)
def test_mint_fails_in_the_form_of_oauth_or_in_the_envelope(
    account: Account, fields: dict[str, str], error: str
) -> None:
    refused = account.mint(**fields)
    assert (refused.status_code, refused.json()["error"]) == (400, error)

    account.switch(mint_failure="envelope")
    refused = account.mint(**fields)
    assert (refused.status_code, refused.json()["data"]) == (200, None)
    assert refused.json()["errorText"].startswith(error)

    account.switch(mint_failure="envelope", failure_status="by_cause")
    assert account.mint(**fields).status_code == (
        401 if error in ("invalid_grant", "invalid_client") else 400
    )


def test_mint_takes_a_form_only(account: Account) -> None:
    refused = account.session.post(account.url + "/token", json=GRANT, timeout=5)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("authorization", [None, "Bearer other", "Bearer", "bearer {token}", "{token}"])
def test_call_without_a_right_token_is_401_and_nothing_is_done(
    account: Account, authorization: str | None
) -> None:
    token = account.mint().json()["access_token"]
    headers = {"Authorization": authorization.format(token=token)} if authorization else {}
    refused = account.session.post(
        account.url + "/tickets", json={"title": "TEST 1"}, headers=headers, timeout=5
    )

    assert (refused.status_code, refused.json()["data"]) == (401, None)
    assert refused.json()["errorCode"] > 0
    assert account.simulator.tickets == []


def test_access_token_lasts_an_hour(account: Account) -> None:
    account.added_id()
    account.clock.now += 3599
    assert account.call("POST", "/tickets", json={"title": "TEST 2"}).status_code == 200
    account.clock.now += 1
    assert account.call("POST", "/tickets", json={"title": "TEST 3"}).status_code == 401


def test_access_tokens_can_be_ended_at_once(account: Account) -> None:
    account.added_id()
    ended = requests.post(account.url + "/_control/expire", timeout=5)
    assert ended.json() == {"expired": 1}
    assert account.call("POST", "/tickets", json={"title": "TEST 2"}).status_code == 401

    account.token = ""
    account.added_id()
    assert (len(account.simulator.tickets), account.received("token")) == (2, 2)


def test_refresh_token_can_be_changed_while_access_tokens_live_on(account: Account) -> None:
    account.added_id()
    requests.put(account.url + "/_control/token", json={"token": "changed"}, timeout=5)
    assert account.mint().status_code == 400
    assert account.mint(refresh_token="changed").status_code == 200
    account.added_id()


def test_refresh_token_can_be_replaced_with_every_mint(account: Account) -> None:
    account.switch(refresh_rotation="old_refused")
    second = account.mint().json()["refresh_token"]
    assert second != REFRESH_TOKEN
    third = account.mint(refresh_token=second).json()["refresh_token"]
    assert third not in (second, REFRESH_TOKEN)
    assert account.mint(refresh_token=REFRESH_TOKEN).status_code == 400


# Add


def test_add_takes_all_documented_fields_and_answers_an_integer(account: Account) -> None:
    answer = account.answer("POST", "/tickets", DOCUMENTED_ADD)
    assert answer == {"data": account.stored.ticket_id, "errorCode": -1, "errorText": None}
    assert isinstance(answer["data"], int)

    ticket = account.shown(answer["data"])
    assert ticket["title"] == DOCUMENTED_ADD["title"]
    assert (ticket["lockedBy"]["id"], ticket["category"]) == (ROBERT.id, {"id": 15597, "name": "Customers"})
    assert [(field["id"], field["value"]) for field in ticket["customFields"]] == [(REGION.id, "Oslo")]
    assert ticket["author"]["email"] == "bill@example.com"
    assert ticket["attachments"] == [
        {
            "isContentPart": False,
            "name": "filename.png",
            "url": "https://your.attachment.url/filename.png",
        }
    ]
    assert (ticket["properties"]["hasAttachments"], ticket["sentiment"]) == (True, "question")
    assert account.stored.cc == ("ann_smith@example.com",)


def test_add_takes_the_fields_of_newer_pages(account: Account) -> None:
    creator = {"name": "Bill", "email": "b@example.com", "customIdentifier": " B-7 ", "phoneNumber": "+4712"}
    ticket_id = account.added_id(creator=creator, sourceName="web shop", tags=["vip"], isHtml=False)
    ticket = account.shown(ticket_id)
    assert (ticket["author"]["customIdentifier"], ticket["sourceName"]) == ("b-7", "web shop")
    assert (ticket["tags"], account.stored.phone) == (["vip"], "+4712")


def test_add_treats_a_message_as_html_unless_it_says_otherwise(account: Account) -> None:
    message = "<p>if a < b & c > d</p>"
    assert account.shown(account.added_id(message=message))["message"] == "if a  d"
    ticket = account.shown(account.added_id(message=message, isHtml=False))
    assert ticket["message"] == message
    assert ticket["htmlMessage"] == "&lt;p&gt;if a &lt; b &amp; c &gt; d&lt;/p&gt;"


def test_add_repeated_makes_a_second_ticket_of_the_same_person(account: Account) -> None:
    first, second = (account.added_id(creator={"email": "b@example.com"}) for _ in range(2))
    assert first != second
    assert account.shown(first)["author"]["id"] == account.shown(second)["author"]["id"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"title": ""}, "title"),
        ({"Title": "x"}, "Title"),
        ({"colour": "red"}, "colour"),
        ({"sentiment": "anger"}, "sentiment"),
        ({"categoryId": "15597"}, "categoryId"),
        ({"categoryId": UNKNOWN_ID}, "category"),
        ({"customFields": [{"key": REGION.id, "value": "Oslo"}]}, "customFields.0"),
        ({"customFields": [{"id": UNKNOWN_ID, "value": "x"}]}, "custom field"),
        ({"assigneeId": "someone"}, "assigneeId"),
        ({"assigneeId": "00000000-0000-0000-0000-000000000000"}, "assignee"),
        ({"creator": {"image": "not a url"}}, "creator.image"),
        ({"attachments": [{"url": "https://example.com/a"}]}, "attachments.0.name"),
    ],
)
def test_add_refuses_what_is_not_documented(account: Account, fields: dict[str, Any], named: str) -> None:
    assert named in account.refusal("POST", "/tickets", {"title": "TEST 1"} | fields)
    assert account.simulator.tickets == []


def test_unknown_ids_can_be_taken(account: Account) -> None:
    account.switch(unknown_ids="taken")
    someone = "00000000-0000-0000-0000-000000000000"
    ticket_id = account.added_id(
        assigneeId=someone, categoryId=UNKNOWN_ID, customFields=[{"id": UNKNOWN_ID, "value": "x"}]
    )
    ticket = account.shown(ticket_id)
    assert (ticket["lockedBy"]["id"], ticket["category"]["id"]) == (someone, UNKNOWN_ID)
    assert ticket["customFields"][0]["value"] == "x"


# Get and list


def test_ticket_has_the_documented_keys_and_values(account: Account) -> None:
    ticket = account.shown(account.added_id(**DOCUMENTED_ADD))

    assert set(ticket) == TICKET_KEYS
    assert set(ticket["properties"]) == PROPERTY_KEYS
    assert set(ticket["author"]) == set(ticket["lockedBy"]) == USER_KEYS
    assert set(ticket["customFields"][0]) == CUSTOM_FIELD_KEYS
    assert (ticket["author"]["status"], ticket["lockedBy"]["status"]) == ("client", "team")
    assert (ticket["status"], ticket["source"], ticket["detailedSource"]) == ("open", "web", "web_website")
    assert ticket["htmlMessage"].startswith('<div id="sb-message-')


def test_times_have_seven_decimals_and_varying_offsets(account: Account) -> None:
    ticket_id = account.added_id()
    texts = [account.shown(ticket_id)["creationTime"] for _ in range(3)]

    assert all(TIME.fullmatch(text) for text in texts)
    assert {text[-6:] for text in texts} == {"+00:00", "+01:00", "+03:00"}
    assert {datetime.fromisoformat(text).timestamp() for text in texts} == {SAMPLE_TIME}


def test_get_of_an_unknown_ticket_is_refused(account: Account) -> None:
    assert account.refusal("GET", f"/tickets/{UNKNOWN_ID}") == "Ticket not found"


def test_list_filters_by_id(account: Account) -> None:
    first, second = account.added_id(), account.added_id()
    assert account.listed_ids() == [first, second]
    assert account.listed_ids(ticketIds=[second, UNKNOWN_ID]) == [second]


def test_list_takes_times_of_creation_as_they_were_answered(account: Account) -> None:
    account.clock.now = SAMPLE_TIME + 0.1234567
    first = account.added_id()
    account.clock.now += 60
    second = account.added_id()
    created = account.shown(first)["creationTime"]

    assert account.listed_ids(**{"from": created, "to": created}) == [first]
    assert account.listed_ids(**{"from": "2023-12-06T15:43:00+01:00"}) == [second]
    assert "to" in account.refusal("POST", "/tickets/list", {"to": "2023-12-06T15:43:00"})


def test_list_pages_by_skip_and_take(account: Account) -> None:
    ids = [account.added_id() for _ in range(60)]

    assert account.listed_ids() == ids[:25]
    assert account.listed_ids(take=50) == ids[:50]
    assert account.listed_ids(take=50, skip=50) == ids[50:]
    assert "take" in account.refusal("POST", "/tickets/list", {"take": 51})


def test_list_can_lag_behind(account: Account) -> None:
    account.switch(list_lag_s=120)
    ticket_id = account.added_id()
    assert account.listed_ids() == []
    assert account.shown(ticket_id)["id"] == ticket_id
    account.clock.now += 120
    assert account.listed_ids() == [ticket_id]


def test_marker_can_be_withheld(account: Account) -> None:
    account.switch(marker_returned=False)
    ticket_id = account.added_id(message="m-7", customFields=[{"id": REFERENCE.id, "value": "m-7"}])
    [listed] = account.result("POST", "/tickets/list", {})
    for ticket in (account.shown(ticket_id), listed):
        assert (ticket["message"], ticket["htmlMessage"], ticket["customFields"]) == ("", "", [])


# Changes


def test_status_changes_to_known_values_only(account: Account) -> None:
    ticket_id = account.added_id()
    assert account.result("PATCH", f"/tickets/{ticket_id}/status", {"status": "completed"}) == {}
    assert account.shown(ticket_id)["status"] == "completed"
    assert "status" in account.refusal("PATCH", f"/tickets/{ticket_id}/status", {"status": "closed"})


def test_assignee_changes_only_if_the_previous_one_is_right(account: Account) -> None:
    path = f"/tickets/{account.added_id()}/Assignee"
    assign = {"assigneeId": STAFF.id.upper(), "previousAssigneeId": None}
    assert account.result("PATCH", path, assign) == {}
    assert account.stored.assignee == STAFF

    assert "previousAssigneeId" in account.refusal("PATCH", path, assign)
    assert "previousAssigneeId" in account.refusal("PATCH", path, {"assigneeId": ROBERT.id})
    assert account.stored.assignee == STAFF


def test_category_changes(account: Account) -> None:
    path = f"/tickets/{account.added_id()}/category"
    assert account.result("PATCH", path, {"id": 23445}) == {}
    assert "category" in account.refusal("PATCH", path, {"id": UNKNOWN_ID})
    assert account.stored.category is not None
    assert account.stored.category.id == 23445


def test_custom_field_and_tags_are_replaced(account: Account) -> None:
    ticket_id = account.added_id(customFields=[{"id": REGION.id, "value": "Oslo"}], tags=["old"])
    field = {"id": REGION.id, "value": "Østfold"}
    assert account.result("PATCH", f"/tickets/{ticket_id}/customFields", field) == {}
    assert account.result("PUT", f"/tickets/{ticket_id}/tags", {"tags": ["vip", "new"]}) == {}
    ticket = account.shown(ticket_id)
    assert (ticket["customFields"][0]["value"], ticket["tags"]) == ("Østfold", ["vip", "new"])


@pytest.mark.parametrize("kind", ["notes", "replies"])
def test_note_and_reply_are_written_under_a_known_login(account: Account, kind: str) -> None:
    path = f"/tickets/{account.added_id()}/{kind}"
    written = account.result("POST", path, {"message": "<b>one</b>", "author": {"email": STAFF.email}})
    assert (written["message"], written["htmlMessage"]) == ("<b>one</b>", None)
    assert written["author"]["id"] == STAFF.id
    written = account.result("POST", path, {"message": "<b>two</b>", "isHtml": True})
    assert (written["message"], written["htmlMessage"]) == ("two", "<b>two</b>")

    unknown = {"message": "x", "author": {"email": "nobody@example.com"}}
    assert "author" in account.refusal("POST", path, unknown)
    kept = account.stored.notes if kind == "notes" else account.stored.replies
    assert [message.message for message in kept] == ["<b>one</b>", "<b>two</b>"]


@pytest.mark.parametrize(("is_draft", "status"), [(False, "pending"), (True, "open")])
def test_reply_that_is_sent_makes_the_ticket_pending(account: Account, is_draft: bool, status: str) -> None:
    ticket_id = account.added_id()
    account.clock.now += 60
    account.result("POST", f"/tickets/{ticket_id}/replies", {"message": "hello", "isDraft": is_draft})

    ticket = account.shown(ticket_id)
    assert (ticket["status"], ticket["replyCount"]) == (status, 0 if is_draft else 1)
    assert ticket["properties"]["hasDraft"] is is_draft
    moments = (datetime.fromisoformat(ticket[f"{key}reationTime"]) for key in ("c", "lastThreadElementC"))
    assert [moment.timestamp() - SAMPLE_TIME for moment in moments] == [0, 0 if is_draft else 60]


def test_notes_are_listed_in_pages_or_all_at_once(account: Account) -> None:
    path = f"/tickets/{account.added_id()}/notes"
    for number in range(30):
        account.result("POST", path, {"message": str(number)})

    def listed(query: str = "") -> list[str]:
        return [note["message"] for note in account.result("GET", path + query)]

    every = [str(number) for number in range(30)]
    assert listed() == every[:25]
    assert listed("?take=50&skip=20") == every[20:]
    account.switch(notes_in_pages=False)
    assert listed("?take=5&skip=20") == every


def test_every_change_is_kept_even_one_that_changes_nothing(account: Account) -> None:
    ticket_id = account.added_id()
    for _ in range(2):
        account.result("PATCH", f"/tickets/{ticket_id}/status", {"status": "pending"})
        account.result("POST", f"/tickets/{ticket_id}/notes", {"message": "the same"})

    [ticket] = requests.get(account.url + "/_control/tickets", timeout=5).json()
    assert (ticket["ticket_id"], ticket["comments"]) == (ticket_id, ["the same", "the same"])
    assert Counter(change["action"] for change in ticket["changes"]) == {
        "ticket_created": 1,
        "ticket_status_changed": 2,
        "note_created": 2,
    }
    assert (ticket["changes"][1]["before"], ticket["changes"][1]["after"]) == ("open", "pending")


@pytest.mark.parametrize(
    ("method", "rest", "content"),
    [
        ("PATCH", "status", {"status": "open"}),
        ("PATCH", "Assignee", {"assigneeId": STAFF.id, "previousAssigneeId": None}),
        ("PATCH", "category", {"id": 23445}),
        ("PATCH", "customFields", {"id": REGION.id, "value": "Oslo"}),
        ("PUT", "tags", {"tags": []}),
        ("POST", "notes", {"message": "x"}),
        ("POST", "replies", {"message": "x"}),
    ],
)
def test_change_of_an_unknown_ticket_is_refused(
    account: Account, method: str, rest: str, content: object
) -> None:
    assert account.refusal(method, f"/tickets/{UNKNOWN_ID}/{rest}", content) == "Ticket not found"


# All operations


def test_failures_can_carry_a_status_of_their_cause(account: Account) -> None:
    ticket_id = account.added_id()
    conflict = {"assigneeId": ROBERT.id, "previousAssigneeId": STAFF.id}

    def statuses() -> list[int]:
        calls = [
            ("POST", "/tickets", {}),
            ("GET", f"/tickets/{UNKNOWN_ID}", None),
            ("PATCH", f"/tickets/{ticket_id}/Assignee", conflict),
        ]
        responses = [account.call(method, path, json=content) for method, path, content in calls]
        assert all(response.json()["errorCode"] > 0 for response in responses)
        return [response.status_code for response in responses]

    assert statuses() == [200, 200, 200]
    account.switch(failure_status="by_cause")
    assert statuses() == [400, 404, 409]


def test_answers_can_be_in_pascal_case(account: Account) -> None:
    account.switch(pascal_case=True)
    answer = account.answer("POST", "/tickets", DOCUMENTED_ADD)
    assert set(answer) == {"Data", "ErrorCode", "ErrorText"}
    ticket = account.answer("GET", f"/tickets/{answer['Data']}")["Data"]
    assert set(ticket) == WEBHOOK_TICKET_KEYS
    assert (ticket["LockedBy"]["Id"], ticket["CustomFields"][0]["Value"]) == (ROBERT.id, "Oslo")
    assert "access_token" in account.mint().json()


def test_calls_known_by_title_only_can_be_missing(account: Account) -> None:
    ticket_id = account.added_id()
    account.switch(unverified_calls="missing")
    for route in ROUTES:
        path = route.path.format(ticket_id=ticket_id)
        status = account.call(route.method, path, json={}).status_code
        assert status == (200 if route.documented else 404), route
    assert account.listed_ids(ticketIds=[ticket_id]) == [ticket_id]


def test_body_that_is_not_json_is_refused(account: Account) -> None:
    answer = account.call("POST", "/tickets", data=b"\xff{").json()
    assert answer["errorText"] == "The body is not JSON"


def test_other_methods_and_paths_are_not_found_and_recorded(account: Account) -> None:
    calls = (("GET", "/tickets"), ("GET", "/token"), ("PATCH", "/tickets/1/assignee"), ("GET", "/tickets/x"))
    assert [account.call(method, path).status_code for method, path in calls] == [404] * 4
    assert account.received("other") == 4


# Faults


def test_answer_of_an_add_can_lack_its_id(account: Account) -> None:
    account.mint()
    account.simulator.faults.add(FaultRule(operation="add", times=1, fault=Fault(answer="without_id")))
    answer = account.answer("POST", "/tickets", {"title": "TEST 1"})
    assert answer == {"errorCode": -1, "errorText": None}
    assert len(account.simulator.tickets) == 1


def test_answers_can_name_a_wrong_ticket_and_nothing_else_wrong(account: Account) -> None:
    ticket_id = account.added_id(**DOCUMENTED_ADD)
    right = account.shown(ticket_id)
    account.simulator.faults.add(FaultRule(fault=Fault(answer="wrong_id")))
    wrong = account.shown(ticket_id)
    assert wrong["id"] != ticket_id
    assert isinstance(wrong["id"], int)
    assert (wrong["lockedBy"], wrong["author"]) == (right["lockedBy"], right["author"])
    assert account.listed_ids() == [wrong["id"]]
    assert account.added_id() == wrong["id"]


# Webhooks


@pytest.fixture
def endpoint() -> Iterator[ScriptedServer]:
    with scripted() as server:
        yield server


def test_webhook_is_posted_in_pascal_case(account: Account, endpoint: ScriptedServer) -> None:
    ticket_id = account.added_id(**DOCUMENTED_ADD)
    account.result("PATCH", f"/tickets/{ticket_id}/status", {"status": "pending"})
    endpoint.replies.append(Reply(body="fine"))
    order = {"url": endpoint.url + "/callbacks/socialboards?key=k", "ticket_id": ticket_id}
    posted = requests.post(account.url + "/_control/webhooks", json=order, timeout=5)

    assert posted.status_code == 200
    assert (posted.json()["status"], posted.json()["body"]) == (200, "fine")
    [call] = endpoint.calls
    assert (call.method, call.path) == ("POST", "/callbacks/socialboards?key=k")
    assert call.headers["content-type"] == "application/json"
    assert posted.json()["sent"] == call.body.decode()
    assert set(call.json) == {"CommunityName", "EventType", "TicketId", "Events"}
    assert (call.json["EventType"], call.json["TicketId"]) == ("ticket_status_change", ticket_id)
    [event] = call.json["Events"]
    assert set(event) == {"InboxLink", "PreviousTicketStatus", "Ticket"}
    assert set(event["Ticket"]) == WEBHOOK_TICKET_KEYS
    assert (event["PreviousTicketStatus"], event["Ticket"]["Status"]) == ("open", "pending")
    assert (event["Ticket"]["Id"], event["Ticket"]["LockedBy"]["Id"]) == (ticket_id, ROBERT.id)
    assert event["InboxLink"].endswith(f"?ticketId={ticket_id}")


def test_webhook_can_have_the_oddities_of_the_samples(account: Account, endpoint: ScriptedServer) -> None:
    ticket_id = account.added_id(categoryId=15597)
    account.result("PATCH", f"/tickets/{ticket_id}/category", {"id": 23445})

    def posted(**oddity: object) -> bytes:
        endpoint.replies.append(Reply())
        order = {"url": endpoint.url, "ticket_id": ticket_id, "event_type": "ticket_category_change"}
        requests.post(account.url + "/_control/webhooks", json=order | oddity, timeout=5)
        return endpoint.calls[-1].body

    content = json.loads(posted(envelope_ticket_id=7, null_attachments=True))
    assert (content["TicketId"], content["Events"][0]["Ticket"]["Id"]) == (7, ticket_id)
    assert content["Events"][0]["PreviousTicketCategoryId"] == 15597
    assert content["Events"][0]["Ticket"]["Attachments"] is None
    assert "TicketId" not in json.loads(posted(omit_ticket_id=True))
    assert set(json.loads(posted(event_type="ticket_created"))["Events"][0]) == {"InboxLink", "Ticket"}
    with pytest.raises(json.JSONDecodeError):
        json.loads(posted(missing_comma=True))


def test_webhook_orders_that_cannot_be_met_say_why(account: Account) -> None:
    ticket_id = account.added_id()
    control = account.url + "/_control/webhooks"

    def refused(**order: object) -> str:
        content = {"url": "http://127.0.0.1:1/", "ticket_id": 1} | order
        response = requests.post(control, json=content, timeout=5)
        assert response.status_code == 400
        return str(response.json()["errors"][0])

    assert refused() == "Ticket not found"
    assert refused(colour="red").startswith("colour:")
    assert refused(ticket_id=ticket_id).startswith("ClientConnectorError:")


# Control interface


def test_control_changes_switches_and_resets(account: Account) -> None:
    control = account.url + "/_control"
    assert requests.get(control + "/health", timeout=5).json() == {"status": "ok", "helpdesk": "socialboards"}
    account.added_id()
    changes = {"unknown_ids": "taken", "refresh_rotation": "old_refused"}
    switches = requests.put(control + "/switches", json=changes, timeout=5).json()
    assert changes.items() <= switches.items()
    refused = requests.put(control + "/switches", json={"pascal_case": "yes"}, timeout=5)
    assert (refused.status_code, refused.json()["errors"][0].partition(":")[0]) == (400, "pascal_case")
    account.mint()

    requests.post(control + "/reset", timeout=5)
    assert account.simulator.switches == SocialboardsSwitches()
    assert (account.simulator.calls, account.simulator.tickets) == ([], [])
    assert account.call("POST", "/tickets", json={"title": "x"}).status_code == 401
    assert account.mint().status_code == 200


def test_control_keeps_its_own_paths(account: Account) -> None:
    assert requests.get(account.url + "/_control/expire", timeout=5).status_code == 405
    assert requests.get(account.url + "/_control/other", timeout=5).status_code == 404
    assert account.simulator.calls == []
