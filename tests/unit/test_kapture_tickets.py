"""Kapture's tickets in our words, from answers as its pages print them."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from helpdesk.clients.kapture.client import Kapture, kapture_keys_in
from helpdesk.clients.kapture.settings import KaptureSettings
from helpdesk.clients.secrets import Secret
from helpdesk.clients.transport import Reply, Transport
from helpdesk.models import Requester, SubStatus, Ticket

URL = "https://devapi.kapturecrm.com"
PAGE = f"{URL}/employee/view-task-detail.html?detail=5/530348198/713516551148"
DAY = date(2024, 4, 19)

# One ticket of the get page, whole.
TASK_DETAILS: dict[str, Any] = {
    "date": "19-04-2024 14:19",
    "tat": "",
    "sla": "",
    "status": "Pending",
    "nextFollowUp": "19-04-2024 14:19",
    "lastFollowUp": "22-04-2024 14:31",
    "taskId": 530348198,
    "email": "",
    "phone": "",
    "lastSource": "Mobile App",
    "lastConvesationTime": "19-04-2024 14:19",
    "title": "TEST 1",
    "orderId": "",
    "primarySource": "Mobile App",
    "ticketEmail": "",
    "folderId": 0,
    "ticketId": "713516551148",
    "detail": "",
    "mergedTicketId": "",
    "contactId": 0,
    "productId": 0,
    "creatorId": 209803,
    "customerId": 0,
    "assignedId": 209803,
    "creatorName": "Kapture Dev API&apos;s",
    "priority": "low",
    "attachment": "",
    "pendingTaskId": 0,
    "ticketCloseEmpId": 209803,
    "assignedToName": "Kapture Dev API&apos;s",
    "callBack": "",
    "queueKey": "",
    "customer_rating": 0,
    "lastConversationId": 0,
    "slaStatus": "out of sla",
    "queueName": "",
    "total_conversations": 0,
    "disposition": "Inbox",
    "taskEnddate": "",
    "customer_feedback": "",
    "url": PAGE,
    "substatus": "Pending",
    "substatusKey": "PS",
    "assigneeCode": "",
    "ftr": "no",
    "attachments": [],
}
# One ticket of the pull page, as far as it is printed.
PULLED: dict[str, Any] = {
    "tat": "",
    "sla": "",
    "date": "19-04-2024 14:19",
    "status": "Pending",
    "nextFollowUp": "19-04-2024 14:19",
    "lastFollowUp": "22-04-2024 14:31",
    "taskId": 530348198,
    "lastSource": "Mobile App",
    "orderId": "",
    "lastConvesationTime": "19-04-2024 14:19",
    "ticketId": "713516551148",
    "folderId": 0,
    "primarySource": "Mobile App",
    "detail": "",
    "mergedTicketId": "",
}
# One ticket of the older pull page.
PULLED_LEGACY: dict[str, Any] = {
    "tat": "0:1:29",
    "sla": "0:1:29",
    "ticketId": "5839952682",
    "contactId": "47895486",
    "referenceId": "44128722",
    "creatorName": " employee 1",
    "priority": "low",
    "assignedToName": "employee 1",
    "status": "success",
    "sla status": "out of sla",
    "date": "2020-05-23 12:11:08",
    "total_conversations": "1",
    "taskTitle": "order not received",
    "substatus": "Closed",
    "taskEnddate": "2020-05-23 12:37",
    "disposition": "Customer Support|Query|Refunds ",
    "companyName": "Rock stores",
    "customerName": "Rock",
    "customerEmail": "rock@gmail.com",
    "customerPhone": "3685465875",
}


class Answering(Transport):
    """A transport without a network, scripted by a list of answers."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.sent: list[Any] = []

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        self.sent.append(json.loads(body))
        return Reply(200, {}, json.dumps(self._answers.pop(0)).encode())


class OneSecret:
    """As much of a Secrets Manager client as is used."""

    def get_secret_value(self, **_: str) -> dict[str, str]:
        return {"SecretString": "a-token", "VersionId": "1"}


def client(transport: Transport, **settings: Any) -> Kapture:
    secrets: Any = OneSecret()
    kapture = KaptureSettings.model_validate({"url": URL, "secret_arn": "arn"} | settings, by_name=True)
    return Kapture(transport, Secret(secrets, "arn", kapture_keys_in), kapture)


def got(zone: str = "Asia/Kolkata", **changes: Any) -> Ticket:
    item = {"additional_info": {}, "history": {}, "task_details": TASK_DETAILS | changes}
    ticket_id = str(item["task_details"]["ticketId"]).strip()
    (ticket,) = client(Answering([item]), zone=ZoneInfo(zone)).get([ticket_id], {}, 0)
    return ticket


def pulled(message: Any) -> list[Ticket]:
    return client(Answering({"totalCount": None, "message": message, "status": "success"})).pull(DAY, 0)


def test_a_ticket_of_a_get_is_told_in_our_words() -> None:
    assert got().model_copy(update={"raw": None}) == Ticket(
        helpdesk="kapture",
        ticket_id="713516551148",
        internal_id="530348198",
        title="TEST 1",
        status="Pending",
        sub_status=SubStatus(key="PS", name="Pending"),
        priority="low",
        assignee="Kapture Dev API's",
        created_at=datetime(2024, 4, 19, 8, 49, tzinfo=UTC),
        updated_at=datetime(2024, 4, 22, 9, 1, tzinfo=UTC),
        url=PAGE,
    )


def test_a_ticket_of_a_pull_is_told_in_the_same_words() -> None:
    (ticket,) = pulled([PULLED])

    assert ticket.model_copy(update={"raw": None}) == Ticket(
        helpdesk="kapture",
        ticket_id="713516551148",
        internal_id="530348198",
        status="Pending",
        created_at=datetime(2024, 4, 19, 8, 49, tzinfo=UTC),
        updated_at=datetime(2024, 4, 22, 9, 1, tzinfo=UTC),
    )


def test_a_ticket_of_the_older_pull_is_told_in_the_same_words() -> None:
    (ticket,) = pulled([PULLED_LEGACY])

    assert ticket.model_copy(update={"raw": None}) == Ticket(
        helpdesk="kapture",
        ticket_id="5839952682",
        title="order not received",
        # Its own "status" is the call's, not the ticket's.
        status=None,
        sub_status=SubStatus(name="Closed"),
        priority="low",
        assignee="employee 1",
        requester=Requester(email="rock@gmail.com", name="Rock", phone="3685465875"),
        created_at=datetime(2020, 5, 23, 6, 41, 8, tzinfo=UTC),
    )


def test_the_ticket_as_it_came_is_kept_beside_ours() -> None:
    assert got().raw == {"additional_info": {}, "history": {}, "task_details": TASK_DETAILS}
    assert pulled([PULLED])[0].raw == PULLED


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("19-04-2024 14:19", "Asia/Kolkata", datetime(2024, 4, 19, 8, 49, tzinfo=UTC)),
        ("2024-04-19 14:19:11", "Asia/Kolkata", datetime(2024, 4, 19, 8, 49, 11, tzinfo=UTC)),
        ("2024-04-19 14:19", "Asia/Kolkata", datetime(2024, 4, 19, 8, 49, tzinfo=UTC)),
        # Day first, also where it could be read as a month.
        ("03-04-2024 00:00", "UTC", datetime(2024, 4, 3, tzinfo=UTC)),
        # A zone with summer time.
        ("19-07-2024 14:19", "Europe/Berlin", datetime(2024, 7, 19, 12, 19, tzinfo=UTC)),
        ("19-01-2024 14:19", "Europe/Berlin", datetime(2024, 1, 19, 13, 19, tzinfo=UTC)),
        ("", "Asia/Kolkata", None),
        ("yesterday", "Asia/Kolkata", None),
        ("01-01-0001 00:00", "Asia/Kolkata", None),
        (0, "Asia/Kolkata", None),
        (None, "Asia/Kolkata", None),
    ],
)
def test_dates_of_every_form_are_told_in_utc(text: Any, zone: str, moment: datetime | None) -> None:
    assert got(zone, date=text).created_at == moment


@pytest.mark.parametrize(
    ("changes", "moment"),
    [
        ({"lastConvesationTime": "23-04-2024 10:00"}, datetime(2024, 4, 23, 4, 30, tzinfo=UTC)),
        ({"lastConversationTime": "24-04-2024 10:00"}, datetime(2024, 4, 24, 4, 30, tzinfo=UTC)),
        ({"lastFollowUp": "", "lastConvesationTime": ""}, None),
    ],
    ids=["misspelt", "spelt right", "neither"],
)
def test_the_last_change_is_the_latest_of_what_is_known(
    changes: dict[str, str], moment: datetime | None
) -> None:
    assert got(**changes).updated_at == moment


def test_names_are_unescaped_once_and_texts_not_at_all() -> None:
    ticket = got(
        assignedToName="O&apos;Neil &amp;amp; Sons",
        customerName="R&amp;D",
        substatus="Won&apos;t fix",
        queueName="A &amp; B",
        title="if a &lt; b &amp;&amp; c",
        detail="&lt;b&gt;",
    )

    assert ticket.assignee == "O'Neil &amp; Sons"
    assert ticket.requester == Requester(name="R&D")
    assert ticket.sub_status == SubStatus(key="PS", name="Won't fix")
    assert ticket.queue == "A & B"
    assert (ticket.title, ticket.details) == ("if a &lt; b &amp;&amp; c", "&lt;b&gt;")


def test_ids_are_texts_however_they_come_and_zero_is_none() -> None:
    numbers = got(ticketId=713516551148, taskId=530348198, customerId=48047507)
    texts = got(ticketId=" 713516551148 ", taskId="530348198", customerId="48047507")
    zeros = got(taskId=0, customerId="0")

    assert numbers.ticket_id == texts.ticket_id == "713516551148"
    assert numbers.internal_id == texts.internal_id == "530348198"
    assert numbers.requester == texts.requester == Requester(customer_id="48047507")
    assert (zeros.internal_id, zeros.requester) == (None, None)


def test_a_text_that_is_a_zero_is_still_a_text() -> None:
    assert (got(title="0", detail="0").title, got(title="0", detail="0").details) == ("0", "0")


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("/employee/all-tickets.html?detail=2/5/7", f"{URL}/employee/all-tickets.html?detail=2/5/7"),
        (PAGE, PAGE),
        ("", None),
    ],
)
def test_urls_are_absolute(url: str, absolute: str | None) -> None:
    assert got(url=url).url == absolute


def test_the_people_of_a_ticket_are_found_under_every_spelling() -> None:
    assert got(email="a@example.com", phone="1").requester == Requester(email="a@example.com", phone="1")
    assert got(customerEmail="a@example.com", customerPhone="1", customerName="A").requester == Requester(
        email="a@example.com", phone="1", name="A"
    )


def test_who_has_closed_a_ticket_is_told_once_it_is_closed() -> None:
    assert got(status="Complete", ticketCloseEmpId=209803).closed_by == "209803"
    assert got(status="Complete", ticketCloseEmpId=0).closed_by is None
    assert got(status="Pending", ticketCloseEmpId=209803).closed_by is None


def test_the_queues_key_is_preferred_to_its_name() -> None:
    assert got(queueKey="q_1", queueName="Queue 1").queue == "q_1"
    assert got(queueKey="", queueName="Queue 1").queue == "Queue 1"


@pytest.mark.parametrize(
    ("message", "ids"),
    [
        ([PULLED, PULLED_LEGACY], ["713516551148", "5839952682"]),
        (PULLED, ["713516551148"]),
        ([], []),
        ("No tickets found", []),
        ([PULLED, "text", None, {"title": "no id"}], ["713516551148"]),
    ],
    ids=["list", "object", "empty list", "text", "list with oddities"],
)
def test_a_pull_is_read_whatever_type_its_message_has(message: Any, ids: list[str]) -> None:
    assert [ticket.ticket_id for ticket in pulled(message)] == ids
