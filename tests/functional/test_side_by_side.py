"""Two helpdesks in one deployment: what befalls one of them does not touch the other."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from helpdesk.store.gate import Budget, Gate
from helpdesk.store.table import Table
from tests.accounts import ACCOUNTS, Account, deployed
from tests.deployment import Clock, Deployment

# Longer than a probe, a doubt's wait or a lease takes.
ROUND_S = 75


@dataclass
class Both:
    """A deployment that serves both; `hit` is the one that trouble befalls, and `other` the other."""

    deployment: Deployment
    hit: Account
    other: Account
    clock: Clock

    def send(self, account: Account, *names: str) -> None:
        """Adds whose ids are also their tickets' titles."""
        self.deployment.send(
            *(
                {
                    "operation": "add",
                    "request_id": name,
                    "helpdesk": account.name,
                    "ticket": {"title": name},
                }
                for name in names
            )
        )

    def send_by_turns(self, count: int = 10) -> None:
        """Adds to both, which come together in batches."""
        for number in range(count):
            self.send(self.hit, f"{self.hit.name}-{number}")
            self.send(self.other, f"{self.other.name}-{number}")

    def consume_all(self) -> None:
        while records := self.deployment.receive():
            self.deployment.consume(records)

    def until_quiet(self) -> None:
        for _ in range(12):
            if not self.deployment.waiting():
                return
            self.clock.let_pass(ROUND_S)
            self.deployment.resolve_doubts()
            self.deployment.show_all()
            self.consume_all()
        assert self.deployment.waiting() == 0, "requests are still waiting"

    def ended(self) -> dict[str, list[dict[str, Any]]]:
        """The final outcomes since the last look, by the helpdesk."""
        outcomes = [event["data"] for event in self.deployment.outcomes()]
        return {
            account.name: [
                outcome
                for outcome in outcomes
                if (outcome["helpdesk"], outcome["outcome"]) == (account.name, "succeeded")
            ]
            for account in (self.hit, self.other)
        }

    def gate(self, account: Account) -> dict[str, Any]:
        """The item of its gate; empty where nothing was ever noted of it."""
        response = self.deployment.dynamodb.get_item(
            TableName="ledger", Key={"pk": {"S": f"gate#{account.name}"}}
        )
        return dict(response.get("Item", {}))


@pytest.fixture(params=ACCOUNTS, ids=lambda account: f"{account.name}-is-hit")
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    clock = Clock()
    hit, other, *_ = sorted(
        (account(clock) for account in ACCOUNTS), key=lambda account: type(account) is not request.param
    )
    with ExitStack() as stack:
        urls = {
            account.name: stack.enter_context(running(account.simulator.app())) for account in (hit, other)
        }
        stack.enter_context(mock_aws())
        deployment = deployed(monkeypatch, hit, urls[hit.name], clock, SETTLE_AFTER_S="0")
        secret = deployment.secrets.create_secret(Name=other.name, SecretString=other.credentials())["ARN"]
        deployment.set(HELPDESKS=f"{other.name},{hit.name}", **other.variables(urls[other.name], secret))
        both = Both(deployment, hit, other, clock)
        # Shows that markers come back.
        both.send(hit, "earlier")
        both.send(other, "earlier-too")
        both.consume_all()
        assert [len(ended) for ended in both.ended().values()] == [1, 1]
        yield both


@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(status=429, headers={"Retry-After": "60"}), Fault(delay_after_s=30)],
    ids=["503", "429-with-retry-after", "hangs"],
)
def test_an_outage_of_one_leaves_the_other_alone(both: Both, fault: Fault) -> None:
    # Shorter than the hang, and longer than a busy machine takes to answer for the other.
    both.deployment.set(READ_TIMEOUT_S="3")
    both.hit.simulator.faults.add(FaultRule(fault=fault))
    both.send_by_turns()
    both.consume_all()

    ended = both.ended()
    assert [len(ended[account.name]) for account in (both.hit, both.other)] == [0, 10]
    assert {outcome["attempts"] for outcome in ended[both.other.name]} == {1}
    assert both.gate(both.hit)["reason"]["S"] in ("outage", "asked_to_wait")
    assert "reason" not in both.gate(both.other)

    # The share of the queue: what comes now goes through at once, and the other's gate costs it nothing but
    # a probe, when it is time for one.
    sent = both.hit.calls(both.hit.adds)
    both.send(both.hit, *(f"more-{number}" for number in range(9)))
    both.send(both.other, "meanwhile")
    assert len(both.deployment.consume()) == 9
    assert [outcome["request_id"] for outcome in both.ended()[both.other.name]] == ["meanwhile"]
    assert both.hit.calls(both.hit.adds) == sent

    both.hit.simulator.faults.clear()
    both.deployment.set(READ_TIMEOUT_S="15")
    both.until_quiet()
    assert sorted(outcome["request_id"] for outcome in both.ended()[both.hit.name]) == sorted(
        [f"{both.hit.name}-{number}" for number in range(10)] + [f"more-{number}" for number in range(9)]
    )
    titles = [ticket.title for account in (both.hit, both.other) for ticket in account.tickets()]
    assert len(titles) == len(set(titles)) == 2 + 20 + 9 + 1
    assert both.deployment.dead_letters() == []


def test_a_refused_token_of_one_leaves_the_other_alone(both: Both) -> None:
    both.hit.change_token("another")
    both.send_by_turns()
    both.consume_all()

    ended = both.ended()
    assert [len(ended[account.name]) for account in (both.hit, both.other)] == [0, 10]
    # Kapture has a key for each operation.
    closed = both.gate(both.hit).get("key_add") or both.gate(both.hit)["reason"]
    assert "token_refused" in closed["S"]
    assert not {"reason", "key_add"} & both.gate(both.other).keys()

    both.hit.mend_token(both.deployment)
    both.until_quiet()
    assert {outcome["attempts"] for outcome in both.ended()[both.hit.name]} == {1}
    assert len(both.hit.tickets()) == 1 + 10


def test_a_budget_is_that_of_one_helpdesk(both: Both) -> None:
    both.deployment.set(
        **{f"{both.hit.name.upper()}_BUDGET": "3", f"{both.hit.name.upper()}_BUDGET_PERIOD_S": "60"}
    )
    made = both.hit.calls(both.hit.adds)
    both.send_by_turns()
    both.consume_all()

    ended = both.ended()
    assert [len(ended[account.name]) for account in (both.hit, both.other)] == [3, 10]
    assert both.hit.calls(both.hit.adds) - made == 3
    both.until_quiet()
    assert len(both.ended()[both.hit.name]) == 7
    assert len(both.hit.tickets()) == 1 + 10


def test_a_pause_of_one_leaves_the_other_alone(both: Both) -> None:
    table = both.deployment.dynamodb
    gate = Gate(Table(table, "ledger"), both.hit.name, Budget(), both.clock)
    gate.pause()
    before = len(both.hit.simulator.calls)
    both.send_by_turns()
    both.consume_all()

    ended = both.ended()
    assert [len(ended[account.name]) for account in (both.hit, both.other)] == [0, 10]
    assert len(both.hit.simulator.calls) == before
    gate.resume()
    both.until_quiet()
    assert len(both.ended()[both.hit.name]) == 10
