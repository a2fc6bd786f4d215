"""The audit of a day, through its handler. Each test runs once for each helpdesk."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types
from moto import mock_aws

from bridge.generate import contracts
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from helpdesk.clients.markers import last_marker
from tests.accounts import ACCOUNTS, Account
from tests.deployment import Clock, Deployment

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

DAY_S = 86400
_SCHEMA = Draft202012Validator(contracts.audit_schema())


class Scene:
    """A deployment, an account, and the reports that were published so far."""

    def __init__(self, deployment: Deployment, account: Account, clock: Clock) -> None:
        self.deployment = deployment
        self.account = account
        self.clock = clock

    def send(self, *requests: dict[str, Any]) -> None:
        self.deployment.send(*requests)
        self.deployment.consume()

    def add(self, *names: str) -> list[str]:
        """Adds tickets, and returns their ids."""
        for name in names:
            self.send({"operation": "add", "request_id": name, "source": "shop", "ticket": {"title": name}})
        ids = {seen.title: seen.ticket_id for seen in self.account.tickets()}
        return [ids[name] for name in names]

    def reports(self, days: float = 1) -> list[dict[str, Any]]:
        """Lets so many days pass, runs the schedule, and returns the reports that it published."""
        self.deployment.outcomes()
        self.clock.let_pass(days * DAY_S)
        self.deployment.audit()
        reports = [event for event in self.deployment.outcomes() if event["type"] == "day.audited"]
        for event in reports:
            _SCHEMA.validate(event)
        return [event["data"] for event in reports]

    def discrepancies(self) -> list[tuple[str, str | None, str]]:
        """What the reports of today show: what, request_id, ticket_id."""
        return [
            (discrepancy["what"], discrepancy.get("request_id"), discrepancy["ticket_id"])
            for report in self.reports()
            for discrepancy in report["discrepancies"]
        ]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Scene]:
    account: Account = request.param(clock)
    with running(account.simulator.app()) as url, mock_aws():
        zone = {f"{account.name.upper()}_ZONE": "Asia/Kolkata"}
        deployment = Deployment(monkeypatch, url, "unused", clock=clock, HELPDESKS=account.name, **zone)
        secret = deployment.secrets.create_secret(Name=account.name, SecretString=account.credentials())
        deployment.set(**account.variables(url, secret["ARN"]))
        # It is noon there, and the stack is not new: the day before has been audited.
        clock.pass_until_noon(ZoneInfo("Asia/Kolkata"))
        scene = Scene(deployment, account, clock)
        scene.reports(days=0)
        yield scene


def test_a_day_without_discrepancies_is_published_and_counted_by_source(scene: Scene) -> None:
    [ticket_id, _] = scene.add("one", "two")
    changes = {"sub_status": scene.account.states[0]}
    scene.send({"operation": "update", "source": "crm", "ticket_id": ticket_id, "changes": changes})
    scene.account.simulator.faults.add(
        FaultRule(operation=scene.account.adds, times=1, fault=Fault(status=200, body=scene.account.refusal))
    )
    scene.send({"operation": "add", "request_id": "bad", "source": "shop", "ticket": {"title": "bad"}})

    [report] = scene.reports()

    assert report["outcome"] == "clean"
    nothing = {"added": 0, "updated": 0, "rejected": 0, "parked": 0, "open": 0}
    assert report["sources"] == {
        "crm": nothing | {"requests": 1, "updated": 1},
        "shop": nothing | {"requests": 3, "added": 2, "rejected": 1},
    }
    assert (report["shown"], report["ours"], report["discrepancies"]) == (2, 2, [])


def test_what_is_still_open_is_counted_as_such(scene: Scene) -> None:
    scene.account.simulator.faults.add(
        FaultRule(operation=scene.account.adds, times=1, fault=Fault(status=500))
    )
    scene.send({"operation": "add", "request_id": "open", "source": "shop", "ticket": {"title": "open"}})
    # The failure has closed the gate; each minute it is probed.
    scene.deployment.resolve_doubts()

    [report] = scene.reports()

    assert (report["sources"]["shop"]["requests"], report["sources"]["shop"]["open"]) == (1, 1)
    assert report["outcome"] == "clean"


def test_a_ticket_that_was_deleted_at_the_helpdesk_is_named(scene: Scene) -> None:
    _, deleted = scene.add("kept", "deleted")
    scene.account.simulator.delete_by_hand(deleted)

    assert scene.discrepancies() == [("missing", "deleted", deleted)]


def test_a_ticket_that_was_made_again_by_hand_is_named(scene: Scene) -> None:
    [ticket_id] = scene.add("one")
    copied = scene.account.simulator.copy_by_hand(ticket_id)

    assert scene.discrepancies() == [("added_twice", "one", copied)]


def test_a_ticket_whose_row_is_gone_from_the_ledger_is_named(scene: Scene) -> None:
    ticket_id, _ = scene.add("gone", "kept")
    key = {"pk": {"S": "request#gone"}}
    scene.deployment.dynamodb.delete_item(TableName="ledger", Key=key)

    assert scene.discrepancies() == [("not_in_ledger", None, ticket_id)]


QUOTATIONS = {
    "in-a-sentence": "My number is [{0}], where is it?",
    "in-a-quoted-mail": "Where is it?\n> Dear customer\n> [{0}]",
    "at-the-end": "My number is [{0}]",
    "alone": "[{0}]",
}


def by_hand(scene: Scene, name: str, details: str) -> str:
    """The id of a ticket that somebody else has made."""
    scene.deployment.set(**{scene.account.marker_variable: "off"})
    scene.send({"operation": "add", "request_id": name, "ticket": {"title": name, "details": details}})
    scene.deployment.dynamodb.delete_item(TableName="ledger", Key={"pk": {"S": f"request#{name}"}})
    scene.deployment.set(**{scene.account.marker_variable: "details"})
    return next(ticket.ticket_id for ticket in scene.account.tickets() if ticket.title == name)


@pytest.mark.parametrize("text", QUOTATIONS.values(), ids=QUOTATIONS)
@pytest.mark.parametrize("days", [0, 3], ids=["the-same-day", "days-later"])
def test_a_customer_who_quotes_a_marker_raises_no_alarm(scene: Scene, text: str, days: int) -> None:
    scene.add("first")
    marker = last_marker(scene.account.tickets()[0].details)
    scene.reports(days=days)
    scene.send(
        {"operation": "add", "request_id": "q", "ticket": {"title": "q", "details": text.format(marker)}}
    )
    by_hand(scene, "mail", text.format(marker))

    assert [report["discrepancies"] for report in scene.reports()] == [[]]


def test_a_quoted_mail_with_a_marker_that_the_ledger_has_forgotten_raises_no_alarm(scene: Scene) -> None:
    scene.add("first")
    marker = last_marker(scene.account.tickets()[0].details)
    scene.reports(days=3)
    scene.deployment.dynamodb.delete_item(TableName="ledger", Key={"pk": {"S": "request#first"}})
    by_hand(scene, "mail", QUOTATIONS["in-a-quoted-mail"].format(marker))

    assert [report["discrepancies"] for report in scene.reports()] == [[]]


def test_a_ticket_that_is_made_again_days_later_is_named(scene: Scene) -> None:
    [ticket_id] = scene.add("one")
    scene.reports(days=3)
    copied = scene.account.simulator.copy_by_hand(ticket_id)

    assert scene.discrepancies() == [("added_twice", "one", copied)]


def test_a_ticket_of_a_request_that_was_given_up_is_named(scene: Scene) -> None:
    scene.account.hide_markers()
    scene.deployment.set(SETTLE_AFTER_S="0")
    scene.account.simulator.faults.add(
        FaultRule(operation=scene.account.adds, times=1, fault=Fault(status=500, act=True))
    )
    scene.send({"operation": "add", "request_id": "doubt", "ticket": {"title": "doubt"}})
    scene.clock.let_pass(60)
    scene.deployment.resolve_doubts()
    scene.account.simulator.switches = scene.account.simulator.switches.model_copy(
        update={"marker_returned": True}
    )
    [made] = scene.account.tickets()

    assert scene.discrepancies() == [("added_though_ended", "doubt", made.ticket_id)]


def test_what_a_day_has_told_the_next_day_does_not_tell_again(scene: Scene) -> None:
    [ticket_id] = scene.add("one")
    scene.account.simulator.copy_by_hand(ticket_id)
    assert scene.discrepancies() != []

    assert [report["discrepancies"] for report in scene.reports(days=1)] == [[]]


def test_a_day_is_audited_once(scene: Scene) -> None:
    scene.add("one")

    assert len(scene.reports()) == 1
    assert scene.reports(days=0) == []


def test_a_day_is_not_audited_before_late_rows_have_come(scene: Scene) -> None:
    scene.deployment.set(AUDIT_AFTER_HOURS="48")
    scene.add("one")

    assert scene.reports(days=2) == []
    assert [report["shown"] for report in scene.reports(days=1)] == [1]


def test_a_helpdesk_that_cannot_be_asked_is_asked_again_and_no_day_is_left_out(scene: Scene) -> None:
    scene.add("one")
    scene.account.simulator.faults.add(FaultRule(operation="*", fault=Fault(status=503)))
    assert scene.reports() == []
    scene.clock.let_pass(2 * DAY_S)
    scene.account.simulator.faults.clear()

    reports = scene.reports(days=0)

    assert [report["sources"] for report in reports if report["sources"]] != []
    assert [report["day"] for report in reports] == sorted(report["day"] for report in reports)
    assert len(reports) == 3


def test_a_day_whose_pull_failed_once_is_audited_after_a_later_one(scene: Scene) -> None:
    scene.add("one")
    scene.clock.let_pass(2 * DAY_S)
    # The first pull of the first day that is due.
    scene.account.simulator.faults.add(FaultRule(operation="*", times=1, fault=Fault(status=500)))
    assert scene.reports(days=0) == []

    reports = scene.reports(days=0)

    assert [report["day"] for report in reports] == sorted({report["day"] for report in reports})
    assert len(reports) == 2
    assert sum(tally["added"] for report in reports for tally in report["sources"].values()) == 1


def test_a_week_without_reports_is_made_up_for(scene: Scene) -> None:
    assert len(scene.reports(days=7)) == 7
    assert len(scene.reports(days=9)) == 7


def test_what_is_odd_raises_its_alarms_figure_for_a_day(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    def figures(name: str) -> list[float]:
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line)[name][0] for line in lines if f'"{name}":' in line]

    [ticket_id] = scene.add("one")
    scene.account.simulator.copy_by_hand(ticket_id)
    scene.clock.let_pass(DAY_S)
    # A day that shows no discrepancy is audited in the same run.
    scene.reports(days=1)
    assert figures("AuditDiscrepancies")[-1] == 1
    scene.reports(days=0.5)
    assert figures("AuditDiscrepancies")[-1] == 1
    scene.reports(days=1)
    assert figures("AuditDiscrepancies")[-1] == 0


def test_a_day_that_waits_is_told_as_late(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.account.simulator.faults.add(FaultRule(operation="*", fault=Fault(status=500)))
    scene.reports(days=1)
    scene.reports(days=1)

    lines = [line for line in capsys.readouterr().out.splitlines() if '"AuditLateSeconds":' in line]
    late = [json.loads(line)["AuditLateSeconds"][0] for line in lines]
    assert DAY_S < late[-1] < 2 * DAY_S


# The sum is made of the ledger alone, and it takes two hundred requests.
@pytest.mark.parametrize("scene", ACCOUNTS[:1], ids=lambda account: account.name, indirect=True)
def test_sources_beyond_the_largest_are_told_in_one_sum(scene: Scene) -> None:
    for start in range(0, 210, 10):
        scene.send(
            *(
                {"operation": "add", "source": f"s{number}", "ticket": {"title": f"s{number}"}}
                for number in range(start, start + 10)
            )
        )

    [report] = scene.reports()

    assert len(report["sources"]) == 201
    assert report["sources"]["(others)"]["added"] == 10


def test_a_new_stack_does_not_look_at_the_days_before_it(scene: Scene) -> None:
    # The fixture's run was the first there was.
    pulls = [call for call in scene.account.simulator.calls if call.operation in ("pull", "list")]
    assert len(pulls) == 2


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_ends_soon_shows_the_days_it_has_left(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = datetime.fromtimestamp(scene.clock(), UTC).date() + timedelta(days=9)
    fields = json.loads(scene.account.credentials()) | {"expires_on": ends.isoformat()}
    scene.deployment.secrets.put_secret_value(SecretId=scene.account.name, SecretString=json.dumps(fields))
    capsys.readouterr()

    assert scene.deployment.audit()["key_days_left"] == {scene.account.name: 9}
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "KeyDaysLeft" in line]
    assert [line["KeyDaysLeft"] for line in metrics] == [[9.0]]


@pytest.mark.parametrize("nonsense", ["soon", "", "2027-13-01", 5])
def test_a_day_that_cannot_be_read_is_no_day(scene: Scene, nonsense: Any) -> None:
    fields = json.loads(scene.account.credentials()) | {"expires_on": nonsense}
    scene.deployment.secrets.put_secret_value(SecretId=scene.account.name, SecretString=json.dumps(fields))

    assert scene.deployment.audit()["key_days_left"] == {}


def test_the_first_use_of_a_new_secret_is_noted_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def noted() -> int:
        caplog.clear()
        scene.deployment.restart()
        scene.deployment.audit()
        return caplog.messages.count("a new version of the secret is used")

    assert noted() == 0
    scene.account.mend_token(scene.deployment)
    assert noted() == 1
    assert noted() == 0
