"""The Kapture simulator over real HTTP: the vendor's key sets, every quirk, every kind of fault."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme

from bridge.simulators.faults import Drip, Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from bridge.simulators.server import running
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "a-token"
ADD = "/add-ticket-from-other-source.html"
UPDATE = "/update-ticket-from-other-source.html"
GET = "/search-ticket-by-ticket-id.html"
PULL = "/select-ticket-between-start-and-end-dates.html"
V2 = "/v.2.0"

# 19 April 2024, 14:19:11 in Kolkata.
SAMPLE_TIME = 1713516551.152
SAMPLE_DAY = "2024-04-19"


def keys(text: str) -> set[str]:
    """Key names out of a text, so that the vendor's long lists stay readable."""
    return set(text.split())


UPDATED_TICKET_KEYS = keys("""
    id type email phone status orderId queueKey ticketId folderId detail isUnread isOutOfSLA priority
    isCallBack creatorId enquiryId contactId substatus productId erpOrderId referenceId ticketEmail
    assignedToId pendingTaskId agencyBriefId twitterUserId facebookUserId associativefile statusName
    customerFeedback playStoreReviewId lastConversationId lastConversationType lastConversationTime date
    totalConversationCount taskTitle typeName taskEnddate lastFollowUp nextFollowUp substatusName
    encryptedPhone encryptedEmail lastConversationTypeName ticketURL ticketCreatorURL isEscalated folders
    queueName creatorName folderColor assignedToName assignedToEmail mergeTicketId skuCode productName
""")
ADDED_TICKET_KEYS = UPDATED_TICKET_KEYS | {"assignedToPhone"}
COMPACT_ADD_KEYS = {"due_date", "title", "customer_id", "ticket_id", "Ticket Id", "ticket_url", "status"}
TASK_DETAILS_KEYS = keys("""
    date tat sla status nextFollowUp lastFollowUp taskId email phone lastSource lastConvesationTime title
    orderId primarySource ticketEmail folderId ticketId detail mergedTicketId contactId productId
    creatorId customerId assignedId creatorName priority attachment pendingTaskId ticketCloseEmpId
    assignedToName callBack queueKey customer_rating lastConversationId slaStatus queueName
    total_conversations disposition taskEnddate customer_feedback url substatus substatusKey assigneeCode
    ftr attachments
""")
# Documented up to mergedTicketId and contactId; the rest is what get answers and public clients read.
PULL_ITEM_KEYS = TASK_DETAILS_KEYS - keys("title email phone ticketEmail attachments") | keys(
    "taskTitle customerName customerEmail customerPhone additional_info"
)
OLDER_PULL_ITEM_KEYS = {"sla status"} | keys("""
    tat sla ticketId contactId referenceId creatorName priority assignedToName status date
    total_conversations taskTitle substatus taskEnddate disposition companyName customerName
    customerEmail customerPhone
""")


class FakeClock:
    """A clock that tests set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Account:
    """A simulated account with a client of the test's own."""

    simulator: KaptureSimulator
    clock: FakeClock
    url: str
    session: requests.Session

    def post(self, path: str, content: object, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Basic {TOKEN}", **options.pop("headers", {})}
        options = {"timeout": 5, "allow_redirects": False} | options
        return self.session.post(self.url + path, json=content, headers=headers, **options)

    def add(self, **fields: object) -> Any:
        return self.post(ADD + V2, [{"title": "TEST 1", **fields}]).json()

    def added_id(self, **fields: object) -> str:
        return str(self.add(**fields)["ticket_id"])

    def update(self, ticket_id: str, **fields: object) -> Any:
        return self.post(UPDATE + V2, [{"ticket_id": ticket_id, "sub_status": "PS", **fields}]).json()

    def get(self, *ticket_ids: str) -> Any:
        return self.post(GET + V2, {"ticket_ids": ",".join(ticket_ids)}).json()

    def pull(self, day: str = SAMPLE_DAY, **fields: object) -> Any:
        return self.post(PULL + V2, [{"start_date": day, "end_date": day, **fields}]).json()

    def suffer(self, operation: str = "add", **fault: Any) -> None:
        """Let the next call of the operation suffer the fault."""
        self.simulator.faults.add(FaultRule(operation=operation, times=1, fault=Fault(**fault)))


@pytest.fixture
def account() -> Iterator[Account]:
    clock = FakeClock(SAMPLE_TIME)
    simulator = KaptureSimulator(token=TOKEN, clock=clock)
    with running(simulator.app()) as url, requests.Session() as session:
        yield Account(simulator, clock, url, session)


def failed(message: str) -> dict[str, str]:
    return {"message": message, "status": "failed"}


# Add


def test_add_answers_the_documented_keys_and_values(account: Account) -> None:
    answer = account.add(ticket_details="", due_date="", email_id="")

    assert set(answer) == COMPACT_ADD_KEYS | {"ticket", "Additional_details"}
    assert set(answer["ticket"]) == ADDED_TICKET_KEYS
    ticket_id = answer["ticket_id"]
    assert ticket_id == answer["Ticket Id"] == answer["ticket"]["ticketId"] == "713516551152"
    page = f"/employee/view-task-detail.html?detail=5/{answer['ticket']['id']}/{ticket_id}"
    assert answer["ticket"]["ticketURL"] == page
    assert answer["ticket_url"] == account.url + page
    assert answer["customer_id"] == 0
    assert answer["due_date"] == answer["ticket"]["date"] == "2024-04-19 14:19:11"
    assert answer["ticket"]["lastConversationTime"] == 1713516551152
    shown = {key: answer["ticket"][key] for key in ("status", "statusName", "substatus", "substatusName")}
    assert shown == {"status": "P", "statusName": "Pending", "substatus": "US", "substatusName": "Unattended"}
    assert (answer["ticket"]["priority"], answer["ticket"]["isUnread"]) == (0, True)
    assert (answer["Additional_details"], answer["status"]) == ({}, "success")


def test_add_takes_a_bare_object_as_well(account: Account) -> None:
    assert account.post(ADD + V2, {"title": "bare"}).json()["title"] == "bare"


def test_add_returns_extra_blocks_as_arrays(account: Account) -> None:
    answer = account.add(issue_details={"a": "1"}, ride_details=[{"b": "2"}], tags=["not a block"])
    assert answer["Additional_details"] == {"issue_details": [{"a": "1"}], "ride_details": [{"b": "2"}]}


def test_add_gives_a_due_day_midnight(account: Account) -> None:
    assert account.add(due_date="2020-07-07")["due_date"] == "2020-07-07 00:00:00"


def test_add_repeated_makes_a_second_ticket_with_its_own_id(account: Account) -> None:
    ids = {account.added_id() for _ in range(3)}
    assert ids == {ticket.ticket_id for ticket in account.simulator.tickets}
    assert len(ids) == 3
    assert all(len(ticket_id) == 12 for ticket_id in ids)


def test_add_without_title_is_refused(account: Account) -> None:
    assert account.post(ADD + V2, [{"title": ""}]).json() == failed("title is missing")
    assert account.post(ADD + V2, []).json() == failed("title is missing")
    assert account.simulator.tickets == []


# Update


def test_update_answers_the_documented_keys_and_values(account: Account) -> None:
    ticket_id = account.added_id()
    account.clock.now += 60
    answer = account.update(ticket_id, comment="", callback_time="", queue="", disposition="")

    assert set(answer) == {"ticket", "Additional_details", "message", "status"}
    assert set(answer["ticket"]) == UPDATED_TICKET_KEYS
    assert answer["message"] == "Status and Comment have been updated.\n"
    assert answer["status"] == "success"
    ticket = answer["ticket"]
    assert (ticket["substatus"], ticket["substatusName"]) == ("PS", "Pending")
    assert ticket["ticketURL"] == f"/employee/all-tickets.html?detail=2/{ticket['id']}/{ticket_id}"
    assert ticket["assignedToName"] == "Kapture Dev API's"
    assert (ticket["date"], ticket["lastFollowUp"]) == ("2024-04-19 14:19:11", "2024-04-19 14:20:11")
    assert ticket["isUnread"] is False


def test_update_changes_what_it_names_and_leaves_the_rest(account: Account) -> None:
    ticket_id = account.added_id(queue="first_line")
    account.update(ticket_id, disposition="Support|Query", callback_time="2024-05-01 09:30:00", comment="one")
    answer = account.update(ticket_id, sub_status="CL", queue="", comment="two")

    assert (answer["ticket"]["queueKey"], answer["ticket"]["queueName"]) == ("first_line", "First Line")
    assert answer["ticket"]["folders"] == ["Support", "Query"]
    assert (answer["ticket"]["isCallBack"], answer["ticket"]["nextFollowUp"]) == (True, "2024-05-01 09:30:00")
    assert answer["ticket"]["statusName"] == "Complete"
    [ticket] = account.simulator.tickets
    assert ticket.comments == ["one", "two"]
    assert [entry.sub_status for entry in ticket.history] == ["PS", "CL"]


@pytest.mark.parametrize("ticket_id", ["", "000000000000"])
def test_update_of_no_or_an_unknown_ticket_is_refused(account: Account, ticket_id: str) -> None:
    assert account.update(ticket_id) == failed("No Data found/ticket_id is missing")


def test_update_without_sub_status_is_refused(account: Account) -> None:
    assert account.update(account.added_id(), sub_status="")["status"] == "failed"


def test_update_with_a_bad_callback_is_refused_under_another_key_name(account: Account) -> None:
    answer = account.update(account.added_id(), callback_time="01-05-2024 9:30")
    assert answer == failed("Invalid Format.callback_date should be yyyy-MM-dd hh:mm:ss.")


# Get


def test_get_answers_an_array_with_the_documented_keys_and_values(account: Account) -> None:
    ticket_id = account.added_id(ticket_details="marker 7", issue_details={"a": "1"})
    account.update(ticket_id, disposition="Support|Query")
    [element] = account.get(ticket_id)

    assert set(element) == {"additional_info", "history", "task_details"}
    assert element["additional_info"] == {"issue_details": [{"a": "1"}]}
    assert element["history"] == {}
    details = element["task_details"]
    assert set(details) == TASK_DETAILS_KEYS
    assert details["date"] == details["lastConvesationTime"] == "19-04-2024 14:19"
    assert (details["status"], details["substatus"], details["substatusKey"]) == ("Pending", "Pending", "PS")
    assert (details["priority"], details["taskEnddate"]) == ("low", "")
    assert details["assignedToName"] == details["creatorName"] == "Kapture Dev API&apos;s"
    assert details["url"].startswith(f"{account.url}/employee/view-task-detail.html?detail=5/")
    assert (details["disposition"], details["detail"]) == ("Support|Query", "marker 7")


def test_get_leaves_unknown_ids_out(account: Account) -> None:
    first, second = account.added_id(), account.added_id()
    answer = account.get(second, "000000000000", first)
    assert [element["task_details"]["ticketId"] for element in answer] == [second, first]
    assert account.get("000000000000") == []


def test_get_refuses_an_array(account: Account) -> None:
    assert account.post(GET + V2, [{"ticket_ids": "1"}]).json() == failed("Invalid Json.")


def test_get_without_ids_is_refused_and_the_name_of_the_table_is_taken(account: Account) -> None:
    assert account.post(GET + V2, {"ticket_ids": ""}).json() == failed("ticket_ids are missing.")
    ticket_id = account.added_id()
    assert len(account.post(GET + V2, {"ticket_id": ticket_id}).json()) == 1


def test_marker_can_be_withheld(account: Account) -> None:
    account.simulator.switches = KaptureSwitches(marker_returned=False)
    answer = account.add(ticket_details="marker 7", issue_details={"a": "1"})
    assert answer["Additional_details"] == {"issue_details": [{"a": "1"}]}

    [element] = account.get(answer["ticket_id"])
    [item] = account.pull()["message"]
    assert (element["task_details"]["detail"], element["additional_info"]) == ("", {})
    assert (item["detail"], item["additional_info"]) == ("", {})


# How accounts differ


@pytest.mark.parametrize(("form", "refused"), [("list", {}), ("object", [])])
def test_an_account_may_take_bodies_of_add_and_update_in_one_form_only(
    account: Account, form: Any, refused: Any
) -> None:
    account.simulator.switches = KaptureSwitches(body_form=form)
    for path in (ADD, UPDATE):
        assert account.post(path + V2, refused).json() == failed("Invalid Json.")
    body = {"title": "TEST 1"}
    taken = account.post(ADD + V2, [body] if form == "list" else body).json()
    assert taken["status"] == "success"


def test_an_account_may_show_comments_as_notes_where_a_get_asks_for_them(account: Account) -> None:
    ticket_id = account.added_id()
    account.update(ticket_id, comment="first & oldest")
    account.update(ticket_id, comment="second")
    with_notes = {
        "ticket_ids": ticket_id,
        "conversation_type": "notes",
        "history_type": "all",
        "read_ticket_history_details": "1",
    }
    [hidden] = account.post(GET + V2, with_notes).json()
    account.simulator.switches = KaptureSwitches(notes_returned=True)
    [shown] = account.post(GET + V2, with_notes).json()
    [unasked] = account.get(ticket_id)

    assert shown["conversation_type"] == {"notes": [{"detail": "first & oldest"}, {"detail": "second"}]}
    assert "conversation_type" not in hidden | unasked


@pytest.mark.parametrize(("escaped", "name", "text"), [("none", "'", "'"), ("all", "&apos;", "&apos;")])
def test_accounts_escape_none_or_all_of_their_texts(
    account: Account, escaped: Any, name: str, text: str
) -> None:
    account.simulator.switches = KaptureSwitches(escaped=escaped)
    ticket_id = account.added_id(title="It's", ticket_details="isn't", customer_name="O'Neil")
    [element] = account.get(ticket_id)
    [item] = account.pull()["message"]

    details = element["task_details"]
    assert (details["title"], details["detail"]) == (f"It{text}s", f"isn{text}t")
    assert (item["taskTitle"], item["detail"], item["customerName"]) == (
        f"It{text}s",
        f"isn{text}t",
        f"O{name}Neil",
    )


def test_an_account_may_refuse_a_get_of_many_ids(account: Account) -> None:
    ids = [account.added_id() for _ in range(2)]
    account.simulator.switches = KaptureSwitches(get_most_ids=1)
    assert account.get(*ids) == failed("at most 1 ticket_ids are allowed")
    assert len(account.get(ids[0])) == 1


def test_a_new_ticket_may_show_late_in_a_get(account: Account) -> None:
    account.simulator.switches = KaptureSwitches(get_lag_s=120)
    ticket_id = account.added_id()
    assert account.get(ticket_id) == []
    account.clock.now += 120
    assert len(account.get(ticket_id)) == 1


def test_an_update_may_name_the_status_and_an_add_the_priority(account: Account) -> None:
    ticket_id = account.added_id(priority="high")
    account.update(ticket_id, status="Complete", sub_status="CO")
    [element] = account.get(ticket_id)
    details = element["task_details"]
    assert (details["status"], details["substatusKey"], details["priority"]) == ("Complete", "CO", "high")

    assert account.update(ticket_id)["ticket"]["statusName"] == "Pending"


# Pull


def test_pull_answers_flat_items_with_the_expected_keys(account: Account) -> None:
    ticket_id = account.added_id(
        customer_name="O'Neil & Sons", email_id="a@example.com", ticket_details="m 7"
    )
    answer = account.pull(limit=1)

    assert set(answer) == {"totalCount", "message", "status"}
    assert (answer["totalCount"], answer["status"]) == (None, "success")
    [item] = answer["message"]
    assert set(item) == PULL_ITEM_KEYS
    assert (item["ticketId"], item["taskTitle"], item["date"]) == (ticket_id, "TEST 1", "19-04-2024 14:19")
    assert item["customerName"] == "O&apos;Neil &amp; Sons"
    assert (item["customerEmail"], item["detail"]) == ("a@example.com", "m 7")


def test_pull_takes_the_day_of_creation_in_the_zone_of_the_account(account: Account) -> None:
    account.clock.now = 1713551400.0 - 1  # a second before midnight in Kolkata, 18:30 in UTC
    before = account.added_id()
    account.clock.now += 1
    after = account.added_id()

    assert [item["ticketId"] for item in account.pull("2024-04-19")["message"]] == [before]
    assert [item["ticketId"] for item in account.pull("2024-04-20")["message"]] == [after]


def test_pull_pages_by_limit_and_offset_unless_offset_is_ignored(account: Account) -> None:
    ids = [account.added_id() for _ in range(5)]

    def page(**fields: object) -> list[str]:
        return [item["ticketId"] for item in account.pull(SAMPLE_DAY, **fields)["message"]]

    assert page(limit=2, offset=0) == ids[:2]
    assert page(limit="2", offset="4") == ids[4:]
    assert page(limit=2, offset=6) == []
    account.simulator.switches = KaptureSwitches(ignore_offset=True)
    assert page(limit=2, offset=4) == ids[:2]


def test_pull_can_answer_an_object_for_one_and_a_text_for_none(account: Account) -> None:
    account.simulator.switches = KaptureSwitches(pull_message="varying")
    assert isinstance(account.pull()["message"], str)
    account.add()
    assert isinstance(account.pull()["message"], dict)
    account.add()
    assert isinstance(account.pull()["message"], list)


def test_pull_lags_behind_where_told_so(account: Account) -> None:
    account.simulator.switches = KaptureSwitches(pull_lag_s=120)
    ticket_id = account.added_id()
    assert account.pull()["message"] == []
    assert len(account.get(ticket_id)) == 1
    account.clock.now += 120
    assert len(account.pull()["message"]) == 1


def test_pull_without_start_date_or_beyond_one_day_is_refused(account: Account) -> None:
    answer = account.post(PULL + V2, [{"start_date": ""}]).json()
    assert answer == failed("either start_date is null or blank")
    assert account.pull(end_date="2024-04-21")["status"] == "failed"


# All operations


@pytest.mark.parametrize("path", [ADD, UPDATE, GET, PULL])
def test_wrong_token_is_a_failed_body_with_status_200(account: Account, path: str) -> None:
    answer = account.post(path + V2, {}, headers={"Authorization": "Basic other"})
    assert (answer.status_code, answer.json()) == (200, failed("Invalid Auth Key"))


def test_older_paths_answer_compact_and_capitalise_failures(account: Account) -> None:
    added = account.post(ADD, [{"title": "older"}]).json()
    assert set(added) == COMPACT_ADD_KEYS
    assert added["customer_id"] == "0"

    assert account.post(ADD, [{}]).json() == {"Message": "title is missing", "Status": "failed"}
    changed = account.post(UPDATE, [{"ticket_id": added["ticket_id"], "sub_status": "PS"}])
    assert changed.json()["status"] == "success"
    assert len(account.post(GET, {"ticket_ids": added["ticket_id"]}).json()) == 1
    pulled = account.post(PULL, [{"start_date": SAMPLE_DAY, "end_date": SAMPLE_DAY}]).json()
    assert set(pulled) == {"status", "message"}
    assert set(pulled["message"][0]) == OLDER_PULL_ITEM_KEYS
    assert pulled["message"][0]["date"] == "2024-04-19 14:19:11"


def test_failures_can_carry_a_status_of_their_cause_or_a_given_one(account: Account) -> None:
    account.simulator.switches = KaptureSwitches(failure_status="by_cause")
    wrong_token = {"Authorization": "Basic other"}
    assert account.post(ADD + V2, {}, headers=wrong_token).status_code == 401
    assert account.post(ADD + V2, {}).status_code == 400
    assert account.post(UPDATE + V2, {"ticket_id": "1", "sub_status": "PS"}).status_code == 404
    account.simulator.switches = KaptureSwitches(failure_status=400)
    answer = account.post(ADD + V2, {}, headers=wrong_token)
    assert (answer.status_code, answer.json()) == (400, failed("Invalid Auth Key"))


def test_body_that_is_not_json_is_refused(account: Account) -> None:
    headers = {"Authorization": f"Basic {TOKEN}"}
    answer = account.session.post(account.url + ADD + V2, data=b"\xff{", headers=headers, timeout=5)
    assert answer.json() == failed("Invalid Json.")


def test_other_methods_and_paths_are_refused_and_recorded(account: Account) -> None:
    assert account.session.get(account.url + GET + V2, timeout=5).status_code == 405
    assert account.session.get(account.url + "/login", timeout=5).status_code == 404
    assert [call.operation for call in account.simulator.calls] == ["other", "other"]


def test_calls_record_what_was_received_and_answered(account: Account) -> None:
    earliest = time.monotonic()
    account.post(ADD + V2, [{"title": "TEST 1"}], headers={"X-Extra": "yes"})
    [call] = account.simulator.calls
    assert (call.operation, call.path, call.status) == ("add", ADD + V2, 200)
    assert (call.headers["x-extra"], call.headers["authorization"]) == ("yes", f"Basic {TOKEN}")
    assert call.body == b'[{"title": "TEST 1"}]'
    assert earliest <= call.received_at <= time.monotonic()


# Faults


def test_status_and_body_replace_the_answer_and_nothing_is_done(account: Account) -> None:
    account.suffer(status=503, body="later", content_type="text/plain", headers={"Retry-After": "7"})
    answer = account.post(ADD + V2, [{"title": "TEST 1"}])
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "later", "7")
    assert answer.headers["Content-Type"] == "text/plain"
    assert account.simulator.tickets == []
    assert account.simulator.calls[0].status == 503


def test_status_after_acting_leaves_a_ticket(account: Account) -> None:
    account.suffer(status=500, act=True)
    answer = account.post(ADD + V2, [{"title": "TEST 1"}])
    assert (answer.status_code, answer.text) == (500, "")
    assert len(account.simulator.tickets) == 1


def test_delay_before_acting_holds_the_ticket_back(account: Account) -> None:
    account.suffer(delay_before_s=2)
    with pytest.raises(requests.ReadTimeout):
        account.post(ADD + V2, [{"title": "TEST 1"}], timeout=0.5)
    assert account.simulator.tickets == []
    eventually(lambda: account.simulator.tickets)
    assert len(account.simulator.tickets) == 1, "the helpdesk acts although the caller has gone"


def test_delay_after_acting_times_out_on_a_ticket_that_exists(account: Account) -> None:
    account.suffer(delay_after_s=30)
    with pytest.raises(requests.ReadTimeout):
        account.post(ADD + V2, [{"title": "TEST 1"}], timeout=0.5)
    eventually(lambda: account.simulator.tickets)
    assert len(account.simulator.tickets) == 1
    assert account.simulator.calls[0].status is None


@pytest.mark.parametrize(("moment", "tickets"), [("before", 0), ("after", 1)])
def test_reset_breaks_the_connection(account: Account, moment: str, tickets: int) -> None:
    account.suffer(reset=moment)
    with pytest.raises(requests.ConnectionError) as broken:
        account.post(ADD + V2, [{"title": "TEST 1"}])
    assert "ConnectionResetError" in str(broken.value)
    assert len(account.simulator.tickets) == tickets
    assert account.simulator.calls[0].status is None


def test_reset_works_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    simulator = KaptureSimulator(token=TOKEN)
    headers = {"Authorization": f"Basic {TOKEN}"}
    with running(simulator.app(), ssl_context=context) as url, requests.Session() as session:
        # Else a CA bundle named by the environment wins over the session's own.
        session.trust_env = False
        session.verify = str(tmp_path / "ca.pem")
        answer = session.post(url + ADD + V2, json=[{"title": "TEST 1"}], headers=headers, timeout=5)
        assert answer.json()["ticket_url"].startswith("https://127.0.0.1:")
        simulator.faults.add(FaultRule(fault=Fault(reset="after")))
        with pytest.raises(requests.ConnectionError):
            session.post(url + ADD + V2, json=[{"title": "TEST 2"}], headers=headers, timeout=5)
    assert len(simulator.tickets) == 2


def test_redirect_names_its_target_and_nothing_is_done(account: Account) -> None:
    account.suffer(redirect="https://login.example.com/")
    answer = account.post(ADD + V2, [{"title": "TEST 1"}])
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://login.example.com/")
    assert account.simulator.tickets == []


def test_html_is_a_login_page_with_status_200(account: Account) -> None:
    account.suffer(html=True)
    answer = account.post(ADD + V2, [{"title": "TEST 1"}])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "password" in answer.text


def test_drip_sends_the_true_body_in_pieces(account: Account) -> None:
    ticket_id = account.added_id()
    account.suffer("get", drip=Drip(chunk_bytes=400, interval_s=0.03))
    started = time.monotonic()
    [element] = account.get(ticket_id)
    assert element["task_details"]["ticketId"] == ticket_id
    assert time.monotonic() - started > 0.06


def test_drip_outlives_a_caller_who_gives_up(account: Account) -> None:
    account.suffer(body="x" * 100, drip={"chunk_bytes": 1, "interval_s": 0.01})
    answer = account.post(ADD + V2, [{"title": "TEST 1"}], stream=True)
    answer.close()
    assert account.add()["status"] == "success"


def test_truncated_body_is_valid_http_with_broken_json(account: Account) -> None:
    account.suffer(truncate=50)
    answer = account.post(ADD + V2, [{"title": "TEST 1"}])
    assert (len(answer.content), answer.headers["Content-Length"]) == (50, "50")
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert len(account.simulator.tickets) == 1


def test_answer_can_be_empty(account: Account) -> None:
    account.suffer(answer="empty")
    answer = account.post(ADD + V2, [{"title": "TEST 1"}])
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(account.simulator.tickets) == 1


def test_answer_can_lack_its_ids(account: Account) -> None:
    account.suffer(answer="without_id")
    answer = account.add()
    assert set(answer) == {"ticket", "Additional_details"} | COMPACT_ADD_KEYS - {"ticket_id", "Ticket Id"}
    assert set(answer["ticket"]) == ADDED_TICKET_KEYS - {"ticketId"}


def test_answer_can_echo_a_wrong_or_a_numeric_id(account: Account) -> None:
    ticket_id = account.added_id()
    account.suffer("update", answer="wrong_id")
    assert account.update(ticket_id)["ticket"]["ticketId"] not in (ticket_id, "")
    account.suffer("get", answer="numeric_id")
    assert account.get(ticket_id)[0]["task_details"]["ticketId"] == int(ticket_id)


def test_rules_apply_in_order_each_so_many_times(account: Account) -> None:
    account.simulator.faults.add(
        FaultRule(operation="add", times=1, fault=Fault()),
        FaultRule(operation="add", times=2, fault=Fault(status=429)),
        FaultRule(operation="*", fault=Fault(status=500)),
    )
    statuses = [account.post(ADD + V2, [{"title": "TEST 1"}]).status_code for _ in range(5)]
    assert statuses == [200, 429, 429, 500, 500]
    account.simulator.faults.clear()
    assert account.add()["status"] == "success"


def test_match_aims_at_one_request_among_concurrent_ones(account: Account) -> None:
    account.simulator.faults.add(FaultRule(operation="add", match="title 3", fault=Fault(status=500)))
    headers = {"Authorization": f"Basic {TOKEN}"}

    def add(number: int) -> int:
        body = [{"title": f"title {number}"}]
        return requests.post(account.url + ADD + V2, json=body, headers=headers, timeout=5).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(add, range(8)))
    assert [number for number, status in enumerate(statuses) if status == 500] == [3]


def test_share_strikes_the_same_calls_for_the_same_seed(account: Account) -> None:
    def struck(seed: int) -> list[bool]:
        account.simulator.faults.clear()
        account.simulator.faults.add(FaultRule(share=0.5, seed=seed, fault=Fault(status=500)))
        return [account.post(ADD + V2, [{"title": "t"}]).status_code == 500 for _ in range(30)]

    first = struck(1)
    assert first == struck(1)
    assert first != struck(2)
    assert 0 < sum(first) < 30


# Control interface and running


def test_control_posts_lists_and_clears_faults(account: Account) -> None:
    rule = {"operation": "add", "times": 1, "fault": {"status": 500}}
    control = account.url + "/_control/faults"
    assert requests.post(control, json=[rule], timeout=5).status_code == 201
    assert account.post(ADD + V2, [{"title": "TEST 1"}]).status_code == 500
    assert requests.get(control, timeout=5).json() == [rule | {"hits": 1}]
    requests.delete(control, timeout=5)
    assert requests.get(control, timeout=5).json() == []


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"fault": {"colour": "red"}}, "fault.colour"),
        ({"fault": {"headers": {"Bad Name": "x"}}}, "fault.headers.Bad Name"),
        ({"fault": {"status": "500"}}, "fault.status"),
        ({"operation": "delete", "fault": {}}, "operation"),
        ({"times": 0, "fault": {}}, "times"),
        ({"times": 1, "share": 0.5, "fault": {}}, "share"),
        ({"fault": {"reset": "after", "status": 500}}, "reset"),
        ({"fault": {"act": False}}, "act"),
        (
            [{"fault": {}}, {"fault": {"drip": {"chunk_bytes": 0, "interval_s": 1}}}],
            "[1].fault.drip.chunk_bytes",
        ),
    ],
)
def test_control_names_what_is_wrong_with_a_rule(account: Account, rule: object, named: str) -> None:
    answer = requests.post(account.url + "/_control/faults", json=rule, timeout=5)
    assert answer.status_code == 400
    assert any(named in error for error in answer.json()["errors"])
    assert account.simulator.faults.as_json() == []


def test_control_shows_tickets_and_calls(account: Account) -> None:
    ticket_id = account.added_id(ticket_details="marker 7")
    account.update(ticket_id, comment="one")
    [ticket] = requests.get(account.url + "/_control/tickets", timeout=5).json()
    assert (ticket["ticket_id"], ticket["details"], ticket["comments"]) == (ticket_id, "marker 7", ["one"])
    calls = requests.get(account.url + "/_control/calls", timeout=5).json()
    assert [call["operation"] for call in calls] == ["add", "update"]
    assert json.loads(calls[0]["body"])[0]["ticket_details"] == "marker 7"


def test_control_changes_token_and_switches_and_resets(account: Account) -> None:
    control = account.url + "/_control"
    assert requests.get(control + "/health", timeout=5).json() == {"status": "ok", "helpdesk": "kapture"}
    requests.put(control + "/token", json={"token": "rotated"}, timeout=5)
    assert account.add() == failed("Invalid Auth Key")
    requests.put(control + "/switches", json={"failure_status": "by_cause"}, timeout=5)
    switches = requests.put(control + "/switches", json={"pull_lag_s": 5}, timeout=5).json()
    assert (switches["failure_status"], switches["pull_lag_s"]) == ("by_cause", 5)
    refused = requests.put(control + "/switches", json={"pull_lag": 5}, timeout=5)
    assert refused.status_code == 400
    assert refused.json()["errors"][0].startswith("pull_lag:")

    requests.post(control + "/reset", timeout=5)
    assert account.simulator.switches == KaptureSwitches()
    assert account.simulator.calls == []
    assert account.add()["status"] == "success"


def test_simulator_keeps_its_tickets_over_an_outage() -> None:
    simulator = KaptureSimulator(token=TOKEN)
    headers = {"Authorization": f"Basic {TOKEN}"}
    with running(simulator.app()) as url:
        requests.post(url + ADD + V2, json=[{"title": "TEST 1"}], headers=headers, timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.get(url + "/_control/health", timeout=5)
    with running(simulator.app(), port=int(url.rpartition(":")[2])) as again:
        assert again == url
        assert len(requests.get(url + "/_control/tickets", timeout=5).json()) == 1


def test_server_stops_at_once_while_a_call_is_delayed(account: Account) -> None:
    other = KaptureSimulator(token=TOKEN)
    other.faults.add(FaultRule(fault=Fault(delay_before_s=100)))
    errors: list[Exception] = []

    def wait_for_an_answer(url: str) -> None:
        try:
            requests.post(url + ADD + V2, json=[{"title": "TEST 1"}], timeout=100)
        except requests.ConnectionError as error:
            errors.append(error)

    with running(other.app()) as url:
        caller = threading.Thread(target=wait_for_an_answer, args=(url,))
        caller.start()
        eventually(lambda: other.calls)
        started = time.monotonic()
    caller.join()
    assert time.monotonic() - started < 30
    assert len(errors) == 1


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_command_announces_itself_and_stops_on_signal(tmp_path: Path, signal_number: int) -> None:
    ready = tmp_path / "ready.json"
    command = [
        sys.executable,
        "-m",
        "bridge.simulators.kapture.account",
        "--token",
        TOKEN,
        "--ready-file",
        str(ready),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            eventually(lambda: ready.exists() or process.poll() is not None)
            announced = json.loads(ready.read_text())
            assert announced["pid"] == process.pid
            assert requests.get(announced["url"] + "/_control/health", timeout=5).json()["status"] == "ok"
            os.kill(process.pid, signal_number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, b"")
    assert list(tmp_path.iterdir()) == [ready]
