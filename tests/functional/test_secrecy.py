"""Neither the token nor customers' texts show anywhere but where they belong."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.simulators.server import running
from bridge.simulators.socialboards.account import SocialboardsSimulator
from tests.deployment import Clock, Deployment
from tests.functional.conftest import TOKEN

TITLE = "canary-title-parcel"
DETAILS = "canary-details-address"
EMAIL = "canary@example.com"
COMMENT = "canary-comment-phone"
CONTEXT = "canary-context-of-the-sender"
ECHO = "canary-echo-of-the-helpdesk"


def test_a_canary_token_and_canary_texts_are_in_no_log_line(
    deployment: Deployment, kapture: KaptureSimulator, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = {"title": TITLE, "details": DETAILS, "requester": {"email": EMAIL, "name": "canary-name"}}
    spellings = (TOKEN, TOKEN.upper(), TOKEN.replace("-", "%2D"), TOKEN[:12])
    refusal = json.dumps({"message": f"{ECHO} {TITLE} {' '.join(spellings)}", "status": "failed"})
    kapture.faults.add(
        FaultRule(operation="add", match="refused", fault=Fault(status=200, body=refusal)),
        FaultRule(operation="add", match="broken", fault=Fault(status=500, body=f"{ECHO} {TOKEN}")),
        FaultRule(operation="add", match="garbled", fault=Fault(status=200, body=f"{ECHO} {TOKEN}")),
    )
    context = {"context": {"basket": CONTEXT}}
    deployment.send(
        {"operation": "add", "request_id": "kept", "ticket": ticket, **context},
        {"operation": "add", "request_id": "r", **context, "ticket": {**ticket, "queue": "refused"}},
        {"operation": "add", "request_id": "b", **context, "ticket": {**ticket, "queue": "broken"}},
        {"operation": "add", "request_id": "g", **context, "ticket": {**ticket, "queue": "garbled"}},
        {"operation": "add", "request_id": "i", **context, "ticket": {"details": DETAILS, "colour": TITLE}},
        f"{{{TITLE}",
    )
    deployment.consume()
    ticket_id = kapture.tickets[0].ticket_id
    deployment.send(
        {
            "operation": "update",
            "request_id": "u",
            "ticket_id": ticket_id,
            "changes": {"sub_status": "PS", "comment": COMMENT},
        }
    )
    deployment.consume()
    deployment.put_token("canary-wrong-token")
    kapture.token = "another"
    deployment.send({"operation": "add", "request_id": "t", "ticket": ticket})
    deployment.consume()
    deployment.call("POST", "/tickets", {"ticket": {"titel": TITLE}, "request_id": "bad"})
    deployment.call("POST", "/tickets", {"ticket": ticket, "request_id": "good"})
    deployment.call("GET", f"/tickets/{ticket_id}")

    lines = log.getvalue() + capsys.readouterr().out
    assert "request ended" in lines
    assert "request accepted" in lines
    for canary in (TOKEN, "canary-wrong-token", TITLE, DETAILS, EMAIL, "canary-name", COMMENT, ECHO, CONTEXT):
        assert canary not in lines

    published = json.dumps(deployment.outcomes())
    assert ECHO in published, "the helpdesk's own message is part of the outcome"
    assert published.count(CONTEXT) >= 5, "what is the sender's own comes back"
    for secret in (*spellings, "canary-wrong-token"):
        assert secret not in published
        assert secret not in json.dumps(deployment.dead_letters())

    items = json.dumps(deployment.dynamodb.scan(TableName="ledger")["Items"])
    for canary in (TOKEN, TITLE, DETAILS, EMAIL, COMMENT, CONTEXT):
        assert canary not in items


FORM_SECRET = "canary-form-secret"
CALLBACK_SECRET = "canary-callback-secret"
REFRESH_TOKEN = "canary-refresh-token"
CLIENT_ID = "canary-client-id"
PATH_SECRET = "canary-guessed-secret"
FORM = """\
service: json
verify: {scheme: tally}
when_invalid: keep
request:
  operation: add
  request_id: answers.id
  ticket: {title: answers.title, details: answers.details, requester: {email: answers.email}}
"""
BY_PATH = FORM.replace("{scheme: tally}", "{scheme: path}")
SECRETS = (TOKEN, REFRESH_TOKEN, CLIENT_ID, FORM_SECRET, CALLBACK_SECRET, PATH_SECRET)
TEXTS = (TITLE, DETAILS, EMAIL, COMMENT, "canary-name", CONTEXT)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def socialboards(clock: Clock) -> SocialboardsSimulator:
    return SocialboardsSimulator(token=REFRESH_TOKEN, client_id=CLIENT_ID, clock=clock)


@pytest.fixture
def everything(
    monkeypatch: pytest.MonkeyPatch,
    kapture_url: str,
    socialboards: SocialboardsSimulator,
    clock: Clock,
    tmp_path: Path,
) -> Iterator[Deployment]:
    """Both helpdesks, forms and callbacks."""
    folder = tmp_path / "forms"
    folder.mkdir()
    (folder / "signed.yaml").write_text(FORM)
    (folder / "path.yaml").write_text(BY_PATH)
    with running(socialboards.app()) as url, mock_aws():
        made = Deployment(monkeypatch, kapture_url, TOKEN, clock=clock, SETTLE_AFTER_S="0")
        credentials = json.dumps({"refresh_token": REFRESH_TOKEN, "client_id": CLIENT_ID})
        secret = made.secrets.create_secret(Name="socialboards", SecretString=credentials)["ARN"]
        for helpdesk in ("kapture", "socialboards"):
            made.put_callback_secret(helpdesk, CALLBACK_SECRET)
        made.deploy_forms(folder, tmp_path / "forms.json")
        for name in made.forms:
            made.put_form_secret(name, FORM_SECRET)
        made.set(HELPDESKS="kapture,socialboards", SOCIALBOARDS_URL=url, SOCIALBOARDS_SECRET_ARN=secret)
        yield made


# What a helpdesk may do to a call, saying again what it was told.
FAULTS: dict[str, Fault] = {
    "it works": Fault(),
    "refused": Fault(status=400, body=json.dumps({"message": f"{TITLE} {TOKEN}", "status": "failed"})),
    "fails": Fault(status=500, body=f"{DETAILS} {REFRESH_TOKEN}"),
    "no JSON": Fault(status=200, body=f"{TITLE} {TOKEN}"),
    "log-in page": Fault(html=True),
    "redirect": Fault(redirect=f"https://example.com/?token={TOKEN}&q={TITLE}"),
    "rate": Fault(status=429, body=TITLE, headers={"Retry-After": "30"}),
    "token refused": Fault(status=401, body=f"bad token {TOKEN} {REFRESH_TOKEN}"),
    "lost": Fault(reset="after"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("helpdesk", ["kapture", "socialboards"])
def test_no_canary_is_told_on_any_path_under_any_fault(
    everything: Deployment,
    kapture: KaptureSimulator,
    socialboards: SocialboardsSimulator,
    log: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    clock: Clock,
    fault: str,
    helpdesk: str,
) -> None:
    helpdesks: dict[str, Any] = {"kapture": kapture, "socialboards": socialboards}
    named: dict[str, Any] = {"helpdesk": helpdesk}
    ticket = {"title": TITLE, "details": DETAILS, "requester": {"email": EMAIL, "name": "canary-name"}}
    named |= {"context": {"basket": CONTEXT}}
    add = {"operation": "add", **named, "ticket": ticket}
    everything.send({**add, "request_id": "before", "reference": "before"})
    everything.consume()
    helpdesks[helpdesk].faults.add(FaultRule(fault=FAULTS[fault]))

    changes = {"sub_status": "PS" if helpdesk == "kapture" else "pending", "comment": COMMENT}
    everything.send(
        {**add, "request_id": "add"},
        {"operation": "update", "request_id": "update", **named, "reference": "before", "changes": changes},
        {"operation": "get", "request_id": "get", **named, "ticket_ids": ["1", "2"]},
        {**add, "request_id": "wrong", "colour": TITLE},
        {**add, "request_id": "wrong too", "ticket": {**ticket, "due_date": DETAILS}},
        f'{{"{TITLE}',
    )
    everything.consume()
    clock.let_pass(80)
    everything.resolve_doubts()
    everything.show_all()
    everything.consume()
    everything.call("POST", "/tickets", {**named, "ticket": ticket, "request_id": "api"})
    everything.call("POST", "/tickets", {**named, "ticket": {"titel": TITLE}})
    everything.call("PATCH", "/tickets/5", {**named, "changes": changes})
    everything.call("GET", "/tickets/1", query={"helpdesk": helpdesk})
    everything.call("GET", "/requests/before")
    answers = [
        everything.form("signed", {"id": "1", "title": TITLE, "email": EMAIL}, secret=FORM_SECRET),
        everything.form("signed", {"id": "2", "details": DETAILS}, secret=FORM_SECRET),
        everything.form("signed", {"id": "3", "title": TITLE}, secret=PATH_SECRET),
        everything.form("path", {"id": "4", "title": TITLE}, path_secret=PATH_SECRET),
        everything.form("path", f"{TITLE} {EMAIL}", path_secret=FORM_SECRET),
        everything.callback("kapture", {"ticket_id": "1", "title": TITLE}, path_secret=CALLBACK_SECRET),
        everything.callback("kapture", {"ticket_id": TITLE}, path_secret=PATH_SECRET),
    ]
    everything.consume()

    # Log lines and the metrics' lines: all that the functions print.
    printed = log.getvalue() + capsys.readouterr().out
    assert "request ended" in printed
    assert '"CloudWatchMetrics"' in printed
    assert [canary for canary in (*SECRETS, *TEXTS) if canary in printed] == []
    items = json.dumps(everything.dynamodb.scan(TableName="ledger")["Items"])
    assert [canary for canary in (*SECRETS, *TEXTS) if canary in items] == []
    attributes = json.dumps([{**copy, "body": None} for copy in everything.dead_letters()])
    assert "class" in attributes
    assert [canary for canary in (*SECRETS, *TEXTS) if canary in attributes] == []
    # An outcome may hold the helpdesk's own message and ticket; never a secret.
    published = json.dumps(everything.outcomes()) + json.dumps([str(answer.body) for answer in answers])
    assert [canary for canary in SECRETS if canary in published] == []
