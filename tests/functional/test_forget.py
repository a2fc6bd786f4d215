"""What is forgotten is in no queue and in no item, but where the report says."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.commands import forget as command
from bridge.operating.forget import Forgetting, Report
from bridge.operating.operations import Operations
from bridge.operating.person import Subject
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import Deployment
from tests.terminal import Terminal

EMAIL = "Canary.Person@example.com"
WORD = "canary"
OTHER = "notcanary.person@example.com.au"


def _add(request_id: str, email: str = EMAIL, **more: Any) -> dict[str, Any]:
    ticket = {"title": f"Parcel of {email}", "requester": {"email": email, "name": email.partition("@")[0]}}
    return {"operation": "add", "request_id": request_id, "source": "shop", "ticket": ticket} | more


def _forget(
    operations: Operations, dry_run: bool = False, folder: Path | None = None, **about: Any
) -> Report:
    folders = [folder] if folder else []
    return Forgetting(operations, Subject(**about), folders, dry_run=dry_run).run()


def _held(deployment: Deployment) -> dict[str, str]:
    """All texts of the stack, by where they are; the queues stay as they are."""
    held = {
        str(item["pk"]["S"]): json.dumps(item)
        for item in deployment.dynamodb.scan(TableName="ledger")["Items"]
    }
    for url in (deployment.requests, deployment.dead_letter_queue):
        messages = deployment.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
        ).get("Messages", [])
        held |= {
            message["MessageId"]: message["Body"] + json.dumps(message.get("MessageAttributes"))
            for message in messages
        }
    return held


def _naming(held: dict[str, str]) -> list[str]:
    return [
        place
        for place, text in held.items()
        if WORD in text.replace("\\u0040", "@").lower().replace(f"not{WORD}", "")
    ]


def test_a_person_who_is_forgotten_is_nowhere_but_where_the_report_says(
    deployment: Deployment,
    kapture: KaptureSimulator,
    operations: Operations,
    log: io.StringIO,
    tmp_path: Path,
) -> None:
    added = _add("order-1", reference=EMAIL, context={"who": EMAIL})
    wrong = {**_add("r-2", reference="o-2"), "titel": f"Of {EMAIL}"}
    bystander = _add("r-9", OTHER, reference=OTHER)
    deployment.send(added, wrong, bystander, {**bystander, "request_id": "r-8", "titel": "wrong"})
    deployment.consume()
    escaped = json.dumps(_add("r-3", EMAIL.lower())).replace("@", "\\u0040")
    packed = base64.b64encode(json.dumps(_add("r-4")).encode()).decode()
    deployment.send(
        {"Type": "Notification", "MessageId": "n-1", "Message": escaped},
        {"specversion": "1.0", "id": "e-1", "source": "x", "type": "t", "data_base64": packed},
        _add("r-7", OTHER),
    )
    (tmp_path / "orders.result.csv").write_text("1,order-1,sent\n2,r-9,sent\n")
    before = _held(deployment)

    dry = _forget(operations, dry_run=True, folder=tmp_path, email=EMAIL.upper())
    assert _held(deployment) == before
    report = _forget(operations, folder=tmp_path, email=EMAIL.upper())

    after = _held(deployment)
    assert len(_naming(before)) == 4
    assert _naming(after) == []
    assert report.removed == dry.removed
    assert [line.partition(":")[0] for line in report.removed].count("requests queue") == 2
    assert f"ledger: reference#kapture#4#shop#{EMAIL}; updates" in "\n".join(report.removed)
    # Those of others are as they were.
    assert {place: text for place, text in before.items() if OTHER in text}.items() <= after.items()
    elsewhere = "\n".join(report.elsewhere)
    ticket = next(ticket for ticket in kapture.tickets if ticket.title.endswith(EMAIL))
    assert f"Kapture: ticket {ticket.ticket_id} " in elsewhere
    assert "look for the address there" in elsewhere
    assert f"{tmp_path}/orders.result.csv: 1 lines" in elsewhere
    assert deployment.outcomes_queue.rpartition("/")[2] in elsewhere
    assert _forget(operations, dry_run=True, email=EMAIL).removed == []
    assert [line for line in report.stays if "of request#order-1, until 20" in line]
    # The same request once more still makes no second ticket, and gets its outcome.
    deployment.outcomes()
    deployment.send(added)
    deployment.consume()
    (again,) = [event["data"] for event in deployment.outcomes() if event["data"]["request_id"] == "order-1"]
    assert (again["outcome"], again["ticket_id"]) == ("succeeded", ticket.ticket_id)
    assert len([ticket for ticket in kapture.tickets if ticket.title.endswith(EMAIL)]) == 1
    assert _naming({"log": log.getvalue()}) == []
    # Who forgot it is known.
    assert [words.rpartition(" forgot ")[2] for _, words in operations.interventions.of("r-2")] == ["it"]


def test_a_request_in_doubt_keeps_what_its_outcome_needs(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    kapture.faults.add(FaultRule(operation="add", times=1, fault=Fault(reset="after")))
    deployment.send(_add("order-1", reference="o-1"))
    deployment.consume()
    deployment.show_all()

    report = _forget(operations, request_ids={"order-1"})
    deployment.resolve_doubts()
    deployment.consume()

    assert report.removed == []
    assert "request#order-1 is under way" in report.stays[0]
    ended = deployment.outcomes()[-1]["data"]
    assert (ended["outcome"], ended["source"], ended["reference"]) == ("succeeded", "shop", "o-1")


def test_a_ticket_is_forgotten_with_all_its_requests_and_messages_that_are_hidden_are_said(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations
) -> None:
    deployment.send(_add("order-1", reference="o-1"))
    deployment.consume()
    ticket = kapture.tickets[0].ticket_id
    wrong = {"operation": "update", "request_id": "u-1", "ticket_id": ticket, "changes": {"comment": WORD}}
    deployment.send(wrong)
    deployment.consume()
    operations.gate("kapture").pause()
    deployment.send({**wrong, "request_id": "u-2", "changes": {"comment": WORD, "sub_status": "PS"}})
    deployment.consume()

    hidden = _forget(operations, ticket_id=ticket, helpdesk="kapture")
    other = _forget(operations, ticket_id=ticket, helpdesk="socialboards")
    deployment.show_all()
    seen = _forget(operations, ticket_id=ticket, helpdesk="kapture")

    assert hidden.removed[0] == "dead-letter queue: update u-1 from unknown, invalid_request"
    assert "requests queue: about 1 of 1 messages were hidden, and not looked at" in hidden.stays
    assert other.removed == []
    assert [line.partition(",")[0] for line in seen.removed] == ["requests queue: update u-2 from unknown"]
    assert operations.ledger.ticket_of("kapture", "shop", "o-1") is None
    assert (
        _naming({place: text for place, text in _held(deployment).items() if not place.startswith("re")})
        == []
    )


def test_nothing_is_removed_without_a_yes(
    deployment: Deployment, operations: Operations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BRIDGE_FOLDER", str(tmp_path))
    monkeypatch.setattr(command, "operations_on", lambda *_: operations)
    deployment.send(_add("order-1"))

    def forget(*options: str, answers: io.BytesIO | None = None) -> Result:
        return CliRunner(mix_stderr=False).invoke(command.forget, ["--email", EMAIL, *options], input=answers)

    unasked, refused, dry = forget(), forget(answers=Terminal("n\n")), forget("--dry-run", "--yes")
    kept = deployment.waiting()
    done = forget("--yes", "--json")

    for shown, status in ((unasked, 2), (refused, 1), (dry, 0)):
        assert shown.stdout.startswith("Would be removed:\n  requests queue: add order-1 from shop")
        assert shown.exit_code == status
    words = "Nothing is removed. Without a terminal nobody can be asked: add --yes."
    assert (unasked.stderr.splitlines()[-1], kept) == (words, 1)
    assert json.loads(done.stdout)["done"] is True
    assert deployment.waiting() == 0
