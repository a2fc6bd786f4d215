"""Who owns a ticket: a doubt finds its own, whatever others write. Each test runs once for each helpdesk."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.server import running
from helpdesk.clients.markers import Markers, last_marker
from resolve_doubts import doubt_resolver
from tests.accounts import ACCOUNTS, Account, deployed
from tests.deployment import Clock
from tests.faults.scene import Scene, add

# Their markers were the same while those were made without a key.
VICTIM, FORMS_OWN_ID, ATTACKER = "order-761316", "20d603", "contact:20d603"
CONTACT = (Path(__file__).parents[2] / "examples" / "forms" / "contact.yaml").read_text()
SECRET = "a-secret-of-these-tests"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ACCOUNTS, ids=lambda account: account.name)
def account(request: pytest.FixtureRequest, clock: Clock) -> Account:
    made: Account = request.param(clock)
    return made


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, account: Account, clock: Clock, tmp_path: Path) -> Iterator[Scene]:
    with running(account.simulator.app()) as url, mock_aws():
        deployment = deployed(monkeypatch, account, url, clock, SETTLE_AFTER_S="0")
        # Queues are named in each helpdesk's own way.
        form = "".join(line for line in CONTACT.splitlines(keepends=True) if " queue: " not in line)
        (tmp_path / "forms").mkdir()
        (tmp_path / "forms" / "contact.yaml").write_text(form)
        deployment.deploy_forms(tmp_path / "forms", tmp_path / "forms.json")
        deployment.put_form_secret("contact", SECRET)
        yield Scene(deployment, account, url, clock)


def submit(scene: Scene, **fields: Any) -> None:
    """Anybody sends the form of a web site, and the queue takes it."""
    body = urlencode(fields, doseq=True)
    kind = "application/x-www-form-urlencoded"
    assert scene.deployment.form("contact", body, content_type=kind, secret=SECRET).status == 303
    scene.consume()


def lose(scene: Scene, name: str, *, arrives: bool) -> None:
    """An add whose answer is lost, with its ticket or without."""
    fault = Fault(reset="after" if arrives else "before")
    scene.helpdesk.faults.add(FaultRule(operation=scene.account.adds, times=1, fault=fault))
    scene.deployment.send(add(name))
    assert len(scene.consume()) == 1


def shown_to_customers(scene: Scene, title: str) -> str:
    """The marker that stands in the ticket of this title."""
    marker = last_marker(scene.ticket(title).details)
    assert marker
    return marker


@pytest.mark.parametrize("arrives", [True, False], ids=["arrived", "never-arrived"])
def test_a_planted_ticket_is_never_taken_for_another_requests(scene: Scene, *, arrives: bool) -> None:
    submit(scene, submission_id=FORMS_OWN_ID, subject="planted", message="m", email="a@example.com")
    assert scene.types(ATTACKER) == ["ticket.added"]
    lose(scene, VICTIM, arrives=arrives)
    scene.until_quiet()

    assert scene.titles() == {"planted": 1, VICTIM: 1}
    assert scene.types(VICTIM) == ["ticket.unknown", "ticket.added"]
    for name, title in ((VICTIM, VICTIM), (ATTACKER, "planted")):
        assert scene.events(name)[-1]["data"]["ticket_id"] == scene.ticket(title).ticket_id


PLACES: dict[str, dict[str, str]] = {
    "subject": {"subject": "planted [{0}]", "message": "m"},
    "message": {"subject": "planted", "message": "About [{0}]"},
    "tags": {"subject": "planted", "message": "m", "interests": "[{0}]"},
    "name": {"subject": "planted", "message": "m", "name": "{0}"},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_customer_who_quotes_a_marker_takes_over_no_doubt(scene: Scene, place: str) -> None:
    lose(scene, "lost", arrives=True)
    quoted = shown_to_customers(scene, "lost")
    fields = {name: text.format(quoted) for name, text in PLACES[place].items()}
    submit(scene, submission_id="mine", email="a@example.com", **fields)
    scene.until_quiet()

    assert sum(scene.titles().values()) == 2
    assert scene.events("lost")[-1]["data"]["ticket_id"] == scene.ticket("lost").ticket_id
    [planted] = [ticket for ticket in scene.account.tickets() if ticket.title.startswith("planted")]
    assert scene.events("contact:mine")[-1]["data"]["ticket_id"] == planted.ticket_id


def test_a_text_that_ends_with_the_marker_of_a_ticket_that_is_gone_takes_over_no_doubt(scene: Scene) -> None:
    scene.make("earlier")
    lose(scene, "lost", arrives=True)
    quoted = shown_to_customers(scene, "lost")
    scene.helpdesk.delete_by_hand(scene.ticket("lost").ticket_id)
    submit(scene, submission_id="mine", subject="planted", message=f"[{quoted}]", email="a@example.com")
    scene.until_quiet()

    # Nobody has its ticket any more, so it is made again.
    assert scene.titles() == {"earlier": 1, "planted": 1, "lost": 1}
    assert scene.events("lost")[-1]["data"]["ticket_id"] == scene.ticket("lost").ticket_id


def test_of_several_tickets_with_one_marker_the_oldest_is_it(scene: Scene) -> None:
    lose(scene, "lost", arrives=True)
    first = scene.ticket("lost").ticket_id
    scene.clock.let_pass(61)
    scene.helpdesk.copy_by_hand(first)
    scene.until_quiet()

    assert scene.events("lost")[-1]["data"]["ticket_id"] == first


def test_a_doubt_is_found_after_the_key_was_changed_twice(scene: Scene) -> None:
    lose(scene, "lost", arrives=True)
    for letter in "ab":
        new = json.dumps({"key": 40 * letter})
        scene.deployment.secrets.put_secret_value(SecretId=scene.deployment.marker_key, SecretString=new)
    scene.deployment.restart()
    scene.until_quiet()

    assert scene.types("lost") == ["ticket.unknown", "ticket.added"]
    assert scene.titles() == {"lost": 1}


def test_a_warm_function_learns_of_a_newer_key_when_it_looks_for_a_doubt(scene: Scene) -> None:
    lose(scene, "before", arrives=True)
    warm = doubt_resolver(scene.deployment.parts)
    assert warm.run(time.monotonic() + 30)["found"] == 1
    seen = {"pk": {"S": f"marker#{scene.account.name}#details"}}
    scene.deployment.dynamodb.delete_item(TableName="ledger", Key=seen)
    scene.helpdesk.forget_tickets()
    new = json.dumps({"key": "n" * 40})
    scene.deployment.secrets.put_secret_value(SecretId=scene.deployment.marker_key, SecretString=new)
    scene.deployment.restart()
    scene.make("of-the-new-key")
    lose(scene, "lost", arrives=False)

    # Else it would not know that markers come back, and park it.
    assert warm.run(time.monotonic() + 30)["absent"] == 1


@pytest.mark.parametrize(
    "held", ["{}", '{"key": "short"}', '{"keys": []}', '{"keys": "text"}', "no JSON", None]
)
def test_without_a_key_requests_wait_and_nothing_is_made(scene: Scene, held: str | None) -> None:
    secrets, secret = scene.deployment.secrets, scene.deployment.marker_key
    if held is None:
        scene.deployment.set(
            MARKER_KEY_SECRET_ARN="arn:aws:secretsmanager:eu-west-1:123456789012:secret:none"
        )
    else:
        secrets.put_secret_value(SecretId=secret, SecretString=held)
        scene.deployment.restart()
    scene.deployment.send(add("waits"))
    assert len(scene.consume()) == 1
    assert (scene.types("waits"), scene.titles()) == ([], {})

    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps({"key": "k" * 40}))
    scene.deployment.set(MARKER_KEY_SECRET_ARN=secret)
    scene.until_quiet()

    assert scene.types("waits") == ["ticket.added"]
    assert scene.events("waits")[0]["data"]["attempts"] == 1


def test_a_doubt_waits_while_the_key_cannot_be_read(scene: Scene) -> None:
    lose(scene, "lost", arrives=False)
    scene.deployment.send(add("with-a-marker"))
    scene.consume()
    scene.deployment.set(MARKER_KEY_SECRET_ARN="arn:aws:secretsmanager:eu-west-1:123456789012:secret:none")

    assert scene.deployment.resolve_doubts()["waiting"] == 1

    scene.deployment.set(MARKER_KEY_SECRET_ARN=scene.deployment.marker_key)
    assert scene.deployment.resolve_doubts()["absent"] == 1


# ── markers of before there was a key ────────────────────────────────────────────────────────────────────


def as_of_before(scene: Scene, name: str) -> None:
    """The request's item as earlier versions kept it: named by helpdesk and id, and without its marker."""
    table, old_key = scene.deployment.dynamodb, f"request#{scene.account.name}#{name}"
    item = table.delete_item(
        TableName="ledger", Key={"pk": {"S": f"request#{name}"}}, ReturnValues="ALL_OLD"
    )["Attributes"]
    kept = {key: value for key, value in item.items() if key not in ("helpdesk", "marker", "marker_field")}
    table.put_item(TableName="ledger", Item=kept | {"pk": {"S": old_key}})
    begun = {"pk": {"S": f"proof#{scene.account.name}"}, "day": {"S": "2026-11-01"}, "begun_at": {"N": "1.0"}}
    table.put_item(TableName="ledger", Item=begun)


@pytest.mark.parametrize("arrives", [True, False], ids=["arrived", "never-arrived"])
def test_a_doubt_of_before_the_upgrade_is_settled_and_its_ticket_made_once(
    scene: Scene, *, arrives: bool
) -> None:
    scene.make("earlier")
    old = Markers(list, "ledger").old_of(scene.account.name, "lost")
    fault = Fault(reset="after" if arrives else "before")
    scene.helpdesk.faults.add(FaultRule(operation=scene.account.adds, times=1, fault=fault))
    # Their own marker then stands where theirs did: at the end.
    scene.deployment.set(**{scene.account.marker_variable: "off"})
    scene.deployment.send(add("lost") | {"ticket": {"title": "lost", "details": f"words\n\n[{old}]"}})
    scene.consume()
    assert scene.types("lost") == ["ticket.unknown"]
    scene.deployment.set(**{scene.account.marker_variable: "details"})
    as_of_before(scene, "lost")
    scene.deployment.restart()
    scene.until_quiet()

    assert scene.titles() == {"earlier": 1, "lost": 1}
    assert scene.types("lost") == ["ticket.unknown", "ticket.added"]
    assert scene.events("lost")[-1]["data"]["ticket_id"] == scene.ticket("lost").ticket_id


def test_a_request_that_ended_before_the_upgrade_is_answered_and_shown(scene: Scene) -> None:
    [ticket_id] = scene.make("before")
    as_of_before(scene, "before")
    scene.deployment.restart()
    scene.deployment.send(add("before"))

    assert scene.consume() == []
    assert scene.titles() == {"before": 1}
    assert scene.events("before")[-1]["data"]["ticket_id"] == ticket_id
    assert scene.deployment.call("GET", "/requests/before").body["ticket_id"] == ticket_id


def test_items_of_before_are_looked_for_until_the_last_has_gone(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.make("before")
    as_of_before(scene, "before")
    scene.deployment.audit()
    clock.let_pass(27 * 86400)
    scene.deployment.restart()
    assert scene.deployment.call("GET", "/requests/before").status == 200

    clock.let_pass(86400 + 1)
    scene.deployment.restart()
    assert scene.deployment.call("GET", "/requests/before").status == 404
