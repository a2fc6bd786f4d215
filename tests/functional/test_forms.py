"""Form submissions, through the true handler: who is believed, what is kept, what is answered."""

import base64
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

import form_intake
from bridge.sending import samples
from bridge.sending.form_signing import sign
from bridge.sending.samples import FormSend, Sample
from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import Answer, Clock, Context, Deployment

ROOT = Path(__file__).parents[2]
SAMPLES = {
    sample.name: sample
    for sample in samples.read_all(ROOT / "examples" / "samples")
    if sample.becomes is not None
}
SECRET = "a-secret-of-these-tests"
OTHER_SECRET = "the-secret-of-another-form"
NEW_SECRET = "a-newer-secret-of-these-tests"
CUSTOMER = "The lamp arrived in two parts."

PLAIN = """\
service: json
verify: {scheme: tally}
limit: {rate: 1, burst: 3}
request:
  operation: add
  request_id: answers.id
  ticket: {title: answers.title, details: answers.details, extra: {a: answers.copied, b: answers.copied}}
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deployment(
    monkeypatch: pytest.MonkeyPatch, kapture_url: str, clock: Clock, tmp_path: Path
) -> Iterator[Deployment]:
    """The shipped forms, and two plain ones; each has the same secret, but `other`."""
    folder = tmp_path / "forms"
    shutil.copytree(ROOT / "examples" / "forms", folder)
    for name in ("plain", "other"):
        (folder / f"{name}.yaml").write_text(PLAIN)
    with mock_aws():
        deployed = Deployment(monkeypatch, kapture_url, "functional-test-token", clock=clock)
        deployed.deploy_forms(folder, tmp_path / "forms.json")
        for name in deployed.forms:
            deployed.put_form_secret(name, SECRET if name != "other" else OTHER_SECRET)
        yield deployed


def send(deployment: Deployment, sample: Sample, **more: Any) -> Answer:
    assert isinstance(sample.send, FormSend)
    return deployment.form(
        sample.send.form, sample.send.raw, content_type=sample.send.content_type, secret=SECRET, **more
    )


def queued(deployment: Deployment) -> list[dict[str, Any]]:
    return [json.loads(message["Body"]) for message in deployment.drain(deployment.requests)]


def submitted(**answers: Any) -> dict[str, Any]:
    return {"id": "s-1", "title": "Help", "details": CUSTOMER, **answers}


# ── what is accepted ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("base64_body", [False, True])
def test_each_services_submission_is_verified_over_its_raw_bytes_and_queued(
    deployment: Deployment, name: str, base64_body: bool
) -> None:
    answer = send(deployment, SAMPLES[name], base64_body=base64_body)

    (request,) = queued(deployment)
    expected = SAMPLES[name].becomes or {}
    assert answer.status == SAMPLES[name].statuses[0]
    assert answer.headers["request-id"] == request["request_id"] == expected["request_id"]
    assert request.items() >= {key: expected[key] for key in ("operation", "source")}.items()


def test_a_submission_becomes_a_ticket(deployment: Deployment, kapture: KaptureSimulator) -> None:
    assert send(deployment, SAMPLES["form_add_typeform"]).status == 202

    deployment.consume()

    (outcome,) = deployment.outcomes()
    assert (outcome["type"], outcome["data"]["source"]) == ("ticket.added", "form/typeform")
    (ticket,) = kapture.tickets
    assert ticket.title == "A broken delivery"


def test_the_same_submission_twice_is_one_ticket(deployment: Deployment, kapture: KaptureSimulator) -> None:
    for _ in range(3):
        assert send(deployment, SAMPLES["form_add_tally"]).status == 202

    deployment.consume()

    assert len(kapture.tickets) == 1
    assert {event["type"] for event in deployment.outcomes()} == {"ticket.added"}


def test_a_form_without_an_id_makes_one_request_of_a_double_click_and_two_of_two_days(
    deployment: Deployment, clock: Clock
) -> None:
    body = "subject=Call+me&email=a%40example.com"

    def ids() -> list[str]:
        for _ in range(2):
            urlencoded = "application/x-www-form-urlencoded"
            assert deployment.form("contact", body, content_type=urlencoded, secret=SECRET).status == 303
        return [request["request_id"] for request in queued(deployment)]

    first = ids()
    clock.let_pass(86400)
    second = ids()

    assert len(set(first)) == len(set(second)) == 1
    assert first != second


def test_two_forms_that_count_alike_do_not_share_a_request_id(deployment: Deployment) -> None:
    deployment.form("plain", submitted(), secret=SECRET)
    deployment.form("other", submitted(), secret=OTHER_SECRET)

    assert {request["request_id"] for request in queued(deployment)} == {"plain:s-1", "other:s-1"}


def test_a_browser_is_sent_on_to_the_page_of_its_form(deployment: Deployment) -> None:
    answer = send(deployment, SAMPLES["form_add_contact"])
    assert (answer.status, answer.headers["location"], answer.body) == (
        303,
        "https://example.com/thanks",
        None,
    )


def test_a_service_gets_no_address_to_follow(deployment: Deployment) -> None:
    answer = send(deployment, SAMPLES["form_add_microsoft"])
    assert answer.status == 202
    assert answer.body == {"request_id": "microsoft:42", "state": "accepted"}
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("typeform", {"event_type": "form_response_partial", "form_response": {"token": "t"}}),
        ("tally", {"eventType": "FORM_DELETED", "data": {}}),
    ],
)
def test_an_event_that_is_no_finished_submission_is_answered_and_let_go(
    deployment: Deployment, form: str, body: dict[str, Any]
) -> None:
    assert deployment.form(form, body, secret=SECRET).status == 200
    assert queued(deployment) == []


# ── who is believed ──────────────────────────────────────────────────────────────────────────────────────


def _flipped(sample: Sample) -> bytes:
    assert isinstance(sample.send, FormSend)
    return sample.send.raw.replace(b"e", b"f", 1)


def test_a_flipped_byte_is_refused(deployment: Deployment) -> None:
    original = SAMPLES["form_add_google"].send
    assert isinstance(original, FormSend)
    shown = sign(deployment.forms["google"], SECRET, original.raw, deployment.clock())
    answer = deployment.form("google", _flipped(SAMPLES["form_add_google"]), headers=shown.headers)

    assert (answer.status, answer.body["code"]) == (401, "wrong_signature")
    assert queued(deployment) == []


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_without_its_proof_no_services_submission_is_kept(
    deployment: Deployment, name: str, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = SAMPLES[name]
    assert isinstance(sample.send, FormSend)
    missing = deployment.form(sample.send.form, sample.send.raw, content_type=sample.send.content_type)
    forged = deployment.form(
        sample.send.form, sample.send.raw, content_type=sample.send.content_type, secret="guessed"
    )

    assert (missing.status, forged.status) == (401, 401)
    assert queued(deployment) == []
    _nothing_told(sample, log.getvalue() + capsys.readouterr().out, "submission refused")


def _nothing_told(sample: Sample, lines: str, message: str) -> None:
    assert message in lines
    texts = [SECRET, "guessed", *_texts((sample.becomes or {}).get("ticket", {}))]
    assert [text for text in texts if len(text) > 5 and text in lines] == []


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def test_nothing_of_an_accepted_submission_is_logged(
    deployment: Deployment, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    for sample in SAMPLES.values():
        send(deployment, sample)
        _nothing_told(sample, log.getvalue() + capsys.readouterr().out, "submission accepted")


def test_a_signature_of_another_form_is_refused(deployment: Deployment) -> None:
    body = json.dumps(submitted())
    answer = deployment.form("plain", body, secret=OTHER_SECRET)
    assert (answer.status, answer.body["code"]) == (401, "wrong_signature")
    assert queued(deployment) == []


def test_a_captured_call_is_refused_when_its_time_is_over(deployment: Deployment, clock: Clock) -> None:
    raw = json.dumps({"event_id": "e-1", "order": {"number": "1"}}).encode()
    shown = sign(deployment.forms["orders"], SECRET, raw, clock())
    assert deployment.form("orders", raw, headers=shown.headers).status == 202
    assert deployment.form("orders", raw, headers=shown.headers).status == 202
    # Within its time a replay cannot be told from a repetition: it is the same request, and one ticket.
    assert len({request["request_id"] for request in queued(deployment)}) == 1

    clock.let_pass(301)
    old = deployment.form("orders", raw, headers=shown.headers)
    fresh_time = deployment.form("orders", raw, headers={**shown.headers, "x-timestamp": str(int(clock()))})

    assert (old.status, old.body["code"]) == (401, "timestamp_outside_window")
    assert (fresh_time.status, fresh_time.body["code"]) == (401, "wrong_signature")
    assert queued(deployment) == []


def test_a_secret_in_the_path_opens_only_forms_that_ask_for_it_there(deployment: Deployment) -> None:
    sample = SAMPLES["form_add_typeform"]
    assert isinstance(sample.send, FormSend)
    answer = deployment.form("typeform", sample.send.raw, path_secret=SECRET)
    assert (answer.status, answer.body["code"]) == (404, "unknown_path")


def test_an_unknown_form_is_not_found_and_not_logged(deployment: Deployment, log: io.StringIO) -> None:
    assert deployment.form("no-such-form", {}).status == 404
    assert log.getvalue() == ""


# ── secrets that change ──────────────────────────────────────────────────────────────────────────────────


def test_a_changed_secret_is_read_as_soon_as_a_call_does_not_verify(deployment: Deployment) -> None:
    assert deployment.form("plain", submitted(), secret=SECRET).status == 202
    deployment.put_form_secret("plain", NEW_SECRET, SECRET)

    assert deployment.form("plain", submitted(), secret=NEW_SECRET).status == 202
    assert deployment.form("plain", submitted(), secret=SECRET).status == 202


def test_a_secret_that_has_been_taken_away_no_longer_verifies(deployment: Deployment, clock: Clock) -> None:
    assert deployment.form("plain", submitted(), secret=SECRET).status == 202
    deployment.put_form_secret("plain", NEW_SECRET)
    assert deployment.form("plain", submitted(), secret=NEW_SECRET).status == 202

    clock.let_pass(10)

    assert deployment.form("plain", submitted(), secret=SECRET).status == 401


def test_a_submission_to_a_form_without_a_secret_is_counted_for_its_alarm(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployment.form("plain", submitted(), secret=OTHER_SECRET).status == 401
    assert "FormWithoutSecret" not in capsys.readouterr().out
    deployment.secrets.delete_secret(SecretId="ticket-bridge/forms/plain", ForceDeleteWithoutRecovery=True)
    deployment.restart()

    answer = deployment.form("plain", submitted(), secret=SECRET)

    assert (answer.status, answer.body["code"]) == (401, "no_secret")
    assert '"FormWithoutSecret":[1.0]' in capsys.readouterr().out


def test_a_flood_of_forged_calls_is_no_flood_at_secrets_manager(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []
    client = deployment.parts.clients.secretsmanager
    read = client.get_secret_value

    def counted(**asked: Any) -> Any:
        reads.append(asked)
        return read(**asked)

    monkeypatch.setattr(client, "get_secret_value", counted)

    for _ in range(50):
        assert deployment.form("plain", submitted(), secret="guessed").status == 401

    assert len(reads) == 2


@pytest.mark.parametrize(
    "text", ["", "{}", '{"secrets": []}', '{"secrets": [""]}', '{"secrets": "x"}', "{no"]
)
def test_a_secret_that_holds_none_lets_nobody_in(deployment: Deployment, text: str) -> None:
    deployment.secrets.put_secret_value(SecretId="ticket-bridge/forms/plain", SecretString=text or " ")

    answer = deployment.form("plain", submitted(), secret="{}")

    assert (answer.status, answer.body["code"]) == (503, "secret_malformed")
    assert queued(deployment) == []


# ── what cannot be kept ──────────────────────────────────────────────────────────────────────────────────


def test_202_is_said_only_when_the_queue_has_it(deployment: Deployment) -> None:
    deployment.sqs.delete_queue(QueueUrl=deployment.requests)

    answer = deployment.form("plain", submitted(), secret=SECRET)

    assert (answer.status, answer.body["code"]) == (503, "queue_unavailable")
    assert answer.headers["retry-after"]


@pytest.mark.parametrize("base64_body", [False, True])
def test_a_submission_that_the_queue_could_not_take_is_too_large(
    deployment: Deployment, base64_body: bool
) -> None:
    body = json.dumps(submitted(details="x" * 1_000_000))
    answer = deployment.form("plain", body, secret=SECRET, base64_body=base64_body)
    assert (answer.status, answer.body["code"]) == (413, "too_large")
    assert queued(deployment) == []


@pytest.mark.parametrize("answers", [{"padding": "x" * 1_000_000}, {"copied": "x" * 600_000}])
def test_neither_what_arrives_nor_what_is_queued_may_be_too_large(
    deployment: Deployment, answers: dict[str, str]
) -> None:
    answer = deployment.form("plain", submitted(**answers), secret=SECRET)
    assert (answer.status, answer.body["code"]) == (413, "too_large")
    assert queued(deployment) == []


def test_the_largest_submission_that_fits_is_taken(deployment: Deployment) -> None:
    body = json.dumps(submitted(details="x" * 990_000))
    assert deployment.form("plain", body, secret=SECRET).status == 202


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"id": 1, "title": ' + '{"a":' * 900 + "1" + "}" * 901, "unexpected_body"),
        ('{"title": NaN}', "not_json"),
        (b'{"title": "\xff"}', "not_json"),
        ("[]", "unexpected_body"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(deployment: Deployment, body: Any, code: str) -> None:
    answer = deployment.form("plain", body, secret=SECRET, base64_body=True)
    assert (answer.status, answer.body["code"]) == (400, code)
    assert queued(deployment) == []


def test_a_plain_form_takes_only_what_forms_send(deployment: Deployment) -> None:
    answer = deployment.form("contact", "subject=x", content_type="text/plain", secret=SECRET)
    assert (answer.status, answer.body["code"]) == (415, "unsupported_media_type")


def test_a_person_is_told_what_is_wrong_with_a_plain_form(deployment: Deployment) -> None:
    answer = deployment.form(
        "contact", "email=nobody", content_type="application/x-www-form-urlencoded", secret=SECRET
    )
    assert (answer.status, answer.body["errors"][0]["field"]) == (422, "ticket.requester.email")
    assert queued(deployment) == []


def test_a_services_submission_that_makes_no_valid_request_is_kept_for_a_person(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    body = {
        "responseId": "r-1",
        "namedValues": {"Details": [CUSTOMER], "Name": ["Ada"]},
        "respondentEmail": "ada@example.com",
    }
    assert deployment.form("google", body, secret=SECRET).status == 202

    deployment.consume()

    (outcome,) = deployment.outcomes()
    assert (outcome["type"], outcome["data"]["request_id"]) == ("ticket.rejected", "google:r-1")
    assert {"field": "ticket.title", "problem": "is missing"} in outcome["data"]["errors"]
    (copy,) = deployment.dead_letters()
    assert json.loads(copy["body"])["submission"]["answers"]["Details"] == CUSTOMER
    assert kapture.tickets == []


# ── floods ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_flood_on_one_form_leaves_the_others_alone(deployment: Deployment, clock: Clock) -> None:
    flood = [deployment.form("plain", submitted(id=f"f-{n}"), secret=SECRET) for n in range(20)]
    assert deployment.form("other", submitted(), secret=OTHER_SECRET).status == 202

    assert [answer.status for answer in flood[:3]] == [202] * 3
    refused = [answer for answer in flood if answer.status == 429]
    assert len(refused) >= 15
    assert refused[-1].headers["retry-after"] == "1"
    clock.let_pass(1.1)
    assert deployment.form("plain", submitted(id="later"), secret=SECRET).status == 202


def test_forged_submissions_use_up_nothing_of_a_forms_rate(deployment: Deployment) -> None:
    for _ in range(20):
        assert deployment.form("plain", submitted(), secret="guessed").status == 401
    assert deployment.form("plain", submitted(), secret=SECRET).status == 202


def test_each_form_is_a_group_of_the_queue(deployment: Deployment) -> None:
    deployment.form("plain", submitted(), secret=SECRET)
    (record,) = deployment.receive()
    assert record["attributes"]["MessageGroupId"] == "form/plain"


def test_a_body_in_base64_is_signed_before_it_was_put_into_base64(deployment: Deployment) -> None:
    """The event that API Gateway makes of bytes, written out."""
    raw = json.dumps(submitted()).encode()
    event = {
        "pathParameters": {"form": "plain"},
        "headers": dict(sign(deployment.forms["plain"], SECRET, raw).headers),
        "body": base64.b64encode(raw).decode(),
        "isBase64Encoded": True,
    }
    assert form_intake.handler(event, Context())["statusCode"] == 202
