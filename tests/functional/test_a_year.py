"""A year of watching and auditing, on a clock that is put forward: nothing is left out or published twice."""

import os
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from bridge.simulators.server import running
from tests.accounts import ACCOUNTS, Account
from tests.deployment import Clock, Deployment

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

# Around the spring's change of the clock; `make year` asks for 365, with which the autumn's comes in too.
DAYS = int(os.environ.get("YEAR_DAYS", "14"))
ZONE = ZoneInfo("Europe/Berlin")
HOUR_S = 3600
# Looks and pulls that fail: at once, in the middle of a body, or with an answer that cannot be read.
TROUBLE = (
    Fault(status=429, headers={"Retry-After": "60"}),
    Fault(status=500),
    Fault(status=200, body="<html>"),
    Fault(reset="after"),
)


class Year:
    """One account's year. `published` holds the states of each ticket as published, oldest first."""

    def __init__(self, deployment: Deployment, account: Account, clock: Clock) -> None:
        self.deployment = deployment
        self.account = account
        self.clock = clock
        self.random = random.Random(7)
        self.published: dict[str, list[str]] = defaultdict(list)
        self.seen_ids: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self.began: dict[str, str] = {}

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), ZONE)

    def put_forward_to(self, hour: float) -> None:
        """To an hour of the day as the clock on the wall shows it there, which may be the next day's."""
        now = self.now()
        moment = now.replace(hour=int(hour), minute=int(hour % 1 * 60), second=0, microsecond=0)
        if moment <= now:
            moment = (moment + timedelta(days=1)).replace(tzinfo=ZONE)
        self.clock.let_pass(moment.timestamp() - now.timestamp())

    def add(self, title: str) -> None:
        self.deployment.send({"operation": "add", "request_id": title, "ticket": {"title": title}})
        self.deployment.consume()
        # Taken in before anything happens to it: what the watch tells changes from.
        self.watch()
        newest = self.account.tickets()[-1]
        self.began[newest.ticket_id] = newest.state

    def change_some(self) -> None:
        """Changes tickets, some of them twice in the same second."""
        for ticket in self.account.tickets()[-20:]:
            for _ in range(self.random.choice((0, 0, 0, 1, 2))):
                self.account.simulator.change_by_hand(
                    ticket.ticket_id, self.random.choice(self.account.states)
                )

    def watch(self) -> None:
        self.deployment.watch()

    def trouble(self) -> None:
        self.account.simulator.faults.add(
            FaultRule(operation="*", times=1, fault=self.random.choice(TROUBLE))
        )

    def take_in(self) -> None:
        for event in self.deployment.outcomes():
            content = event["data"]
            if event["type"] == "ticket.changed":
                self.seen_ids.append(event["id"])
                self.published[content["ticket_id"]].append(content["ticket"]["sub_status"]["key"])
            elif event["type"] == "day.audited":
                self.reports.append(content)

    def expire(self) -> None:
        """What DynamoDB does by itself with items whose time is over."""
        for item in self.deployment.dynamodb.scan(TableName="ledger")["Items"]:
            if float(item.get("expires_at", {}).get("N", "inf")) < self.clock():
                self.deployment.dynamodb.delete_item(TableName="ledger", Key={"pk": item["pk"]})


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
def year(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Year]:
    clock = Clock()
    account: Account = request.param(clock)
    if isinstance(account.simulator, KaptureSimulator):
        account.simulator.zone = ZONE
        # Rows show up five hours late.
        account.simulator.switches = KaptureSwitches(pull_lag_s=5 * HOUR_S)
    with running(account.simulator.app()) as url, mock_aws():
        deployment = Deployment(
            monkeypatch,
            url,
            "unused",
            clock=clock,
            HELPDESKS=account.name,
            WATCH_MINUTES="300",
            **{f"{account.name.upper()}_ZONE": ZONE.key},
        )
        secret = deployment.secrets.create_secret(Name=account.name, SecretString=account.credentials())
        deployment.set(**account.variables(url, secret["ARN"]))
        yield Year(deployment, account, clock)


@pytest.mark.timeout(3600)
def test_a_year_leaves_no_gap_and_repeats_nothing(year: Year) -> None:
    year.clock.let_pass(datetime(2027, 3, 20, tzinfo=ZONE).timestamp() - year.clock())
    year.put_forward_to(12)
    first = year.now().date()
    year.deployment.audit()
    for number in range(DAYS):
        # Just before and after midnight, where days are mixed up most easily.
        year.put_forward_to(23.9)
        year.add(f"evening-{number}")
        year.put_forward_to(0.1)
        year.add(f"night-{number}")
        year.change_some()
        if number % 3 == 0:
            year.trouble()
        year.put_forward_to(9)
        year.watch()
        year.deployment.audit()
        year.put_forward_to(15)
        year.watch()
        year.deployment.audit()
        if number % 10 == 0:
            year.expire()
            year.take_in()
    year.account.simulator.faults.clear()
    for _ in range(3):
        year.clock.let_pass(6 * HOUR_S)
        year.watch()
        year.deployment.audit()
    year.take_in()

    audited = [date.fromisoformat(report["day"]) for report in year.reports]
    assert audited == [first - timedelta(days=1) + timedelta(days=number) for number in range(len(audited))]
    assert len(audited) >= DAYS
    assert [report["discrepancies"] for report in year.reports if report["discrepancies"]] == []
    assert (
        sum(tally["added"] for report in year.reports for tally in report["sources"].values()) >= 2 * DAYS - 2
    )
    assert len(year.seen_ids) == len(set(year.seen_ids))
    for ticket in year.account.tickets():
        states = [year.began[ticket.ticket_id], *year.published[ticket.ticket_id]]
        assert all(earlier != later for earlier, later in pairwise(states)), ticket.ticket_id
        closed = year.account.states[1] in states[1:]
        assert closed or states[-1] == ticket.state, (ticket.ticket_id, states)
