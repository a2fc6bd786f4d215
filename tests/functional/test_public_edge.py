"""What anybody may send to the forms: nothing unsigned decides, nothing costs much, nothing is lost."""

import io
import json
import shutil
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from bridge.generate import form_files
from bridge.local.folder import EXAMPLES
from bridge.sending import samples
from bridge.sending.form_signing import sign
from bridge.sending.samples import FormSend
from bridge.simulators.kapture.account import KaptureSimulator
from helpdesk.errors import RejectedError
from helpdesk.http.forms.services import read_submission
from tests.deployment import Answer, Clock, Deployment

SAMPLES = [sample.send for sample in samples.read_all(EXAMPLES.samples) if isinstance(sample.send, FormSend)]
SECRET = "a-secret-of-these-tests"
WEBHOOKS_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
URLENCODED = "application/x-www-form-urlencoded"

_REQUEST = "request: {operation: add, ticket: {title: answers.title, details: answers.details}}\n"
_SIGNED = {
    "plain-hmac": "{scheme: hmac, header: X-Signature}",
    "timed-hmac": "{scheme: hmac, header: X-Sig, signed: '{timestamp}.{body}', timestamp: {header: X-Time}}",
    "named-hmac": "{scheme: hmac, header: X-Signature, signed: '{id}.{body}', id_header: X-Id}",
    "standard-webhooks": "{scheme: standard_webhooks}",
    "tally-signed": "{scheme: tally}",
}
FORMS = {
    **{name: f"service: json\nverify: {scheme}\n{_REQUEST}" for name, scheme in _SIGNED.items()},
    "signed-page": f"service: html\nverify: {{scheme: tally}}\n{_REQUEST}",
    "page": f"service: html\nverify: {{scheme: none}}\n{_REQUEST}",
    "by-header": f"service: json\nverify: {{scheme: header, header: X-Secret}}\n{_REQUEST}",
    "by-path": f"service: json\nverify: {{scheme: path}}\n{_REQUEST}",
    "comment": "service: html\nverify: {scheme: none}\n"
    "request: {operation: update, reference: answers.about, changes: {sub_status: {constant: PS}}}\n",
    "unmapped": "service: html\nverify: {scheme: none}\nrequest: {operation: add, ticket: "
    "{title: {value: answers.subject, default: A message}, details: answers.message}}\n",
    "button": "service: html\nverify: {scheme: none}\nrequest: {operation: add, ticket: "
    "{title: {constant: Somebody has pressed the button}}}\n",
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deployment(
    monkeypatch: pytest.MonkeyPatch, kapture_url: str, clock: Clock, tmp_path: Path
) -> Iterator[Deployment]:
    """The shipped forms and those above."""
    folder = tmp_path / "forms"
    shutil.copytree(EXAMPLES.forms, folder)
    for name, text in FORMS.items():
        (folder / f"{name}.yaml").write_text(text)
    with mock_aws():
        deployed = Deployment(monkeypatch, kapture_url, "functional-test-token", clock=clock)
        deployed.deploy_forms(folder, tmp_path / "forms.json")
        for name in deployed.forms:
            deployed.put_form_secret(name, WEBHOOKS_SECRET if name == "standard-webhooks" else SECRET)
        yield deployed


@pytest.fixture
def reads(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The secrets that were asked for, in order."""
    asked: list[str] = []
    client = deployment.parts.clients.secretsmanager
    read = client.get_secret_value

    def noted(**sent: Any) -> Any:
        asked.append(sent["SecretId"])
        return read(**sent)

    monkeypatch.setattr(client, "get_secret_value", noted)
    return asked


def queued(deployment: Deployment) -> list[dict[str, Any]]:
    return [json.loads(message["Body"]) for message in deployment.drain(deployment.requests)]


def shown(deployment: Deployment, name: str, raw: bytes, at: float) -> dict[str, str]:
    """The headers with which the form's sender sends this body at this time."""
    secret = WEBHOOKS_SECRET if name == "standard-webhooks" else SECRET
    return dict(sign(deployment.forms[name], secret, raw, at).headers)


def page(deployment: Deployment, form: str, fields: str | bytes, content_type: str = URLENCODED) -> Answer:
    raw = fields if isinstance(fields, bytes) else fields.encode()
    return deployment.form(form, raw, content_type=content_type, base64_body=True)


def multipart(boundary: str, *parts: str) -> bytes:
    text = "".join(f"--{boundary}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    return f"{text}--{boundary}--\r\n".encode()


# ── what is a repetition ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", _SIGNED)
def test_one_signed_body_with_other_unsigned_headers_today_and_tomorrow_is_one_ticket(
    deployment: Deployment, kapture: KaptureSimulator, clock: Clock, form: str
) -> None:
    raw = b'{"title": "Call me", "details": "Today."}'
    overheard = shown(deployment, form, raw, clock())
    unsigned = ({}, *({"Idempotency-Key": f"key-{number}"} for number in range(5)), {"Webhook-Id": "other"})
    for headers in unsigned if form != "standard-webhooks" else unsigned[:-1]:
        assert deployment.form(form, raw, headers={**overheard, **headers}).status == 202
    clock.let_pass(86400)
    # Where the time is signed, the sender itself must send again.
    again = shown(deployment, form, raw, clock()) if "time" in form else overheard
    if form == "standard-webhooks":
        again = overheard
    status = deployment.form(form, raw, headers={**again, "Idempotency-Key": "key-9"}).status
    assert status == (401 if form == "standard-webhooks" else 202)

    deployment.consume()

    assert len(kapture.tickets) == 1


def test_a_signed_id_outside_of_the_body_names_the_request(deployment: Deployment, clock: Clock) -> None:
    raw = b'{"title": "Call me"}'
    for at in (clock(), clock() + 1):
        assert (
            deployment.form("named-hmac", raw, headers=shown(deployment, "named-hmac", raw, at)).status == 202
        )

    assert len({request["request_id"] for request in queued(deployment)}) == 2


def test_letters_cannot_move_between_a_signed_id_and_the_body(deployment: Deployment, clock: Clock) -> None:
    """`{id}.{body}` of the id "a" and the body "b.c" are the bytes of the id "a.b" and the body "c"."""
    sent = shown(deployment, "named-hmac", b'x.{"title": "T"}', clock())

    moved = {**sent, "x-id": sent["x-id"] + ".x"}

    assert deployment.form("named-hmac", b'{"title": "T"}', headers=moved).status == 401
    assert queued(deployment) == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (f"{URLENCODED}; charset=koi8-r", 202),
        (URLENCODED.upper(), 202),
        ("multipart/form-data; boundary=title", 415),
        ("application/json", 415),
    ],
)
def test_an_unsigned_content_type_makes_nothing_else_of_a_signed_page(
    deployment: Deployment, clock: Clock, content_type: str, status: int
) -> None:
    raw = b"title=Gr%C3%BC%C3%9Fe&id=1"
    headers = shown(deployment, "signed-page", raw, clock())
    assert deployment.form("signed-page", raw, headers=headers, content_type=URLENCODED).status == 202
    again = deployment.form("signed-page", raw, headers=headers, content_type=content_type)

    assert again.status == status
    assert len({json.dumps(request) for request in queued(deployment)}) == 1


def test_a_double_click_on_a_form_with_a_file_is_one_request(deployment: Deployment) -> None:
    for boundary in ("----WebKitFormBoundaryA1", "----WebKitFormBoundaryB2"):
        body = multipart(boundary, 'name="title"\r\n\r\nHello')
        assert page(deployment, "page", body, f"multipart/form-data; boundary={boundary}").status == 202

    assert len({request["request_id"] for request in queued(deployment)}) == 1


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────

_CARRIED = {
    "tally-signed": {"Tally-Signature": "Z3Vlc3NlZA=="},
    "by-header": {"X-Secret": "guessed"},
    "by-path": {},
}


def _forged(deployment: Deployment, form: str) -> Answer:
    path_secret = "guessed" if form == "by-path" else None
    return deployment.form(form, {"title": "x"}, headers=_CARRIED[form], path_secret=path_secret)


@pytest.mark.parametrize("form", _CARRIED)
def test_a_flood_on_a_form_without_a_secret_is_401_and_hardly_costs_a_call(
    deployment: Deployment, reads: list[str], clock: Clock, form: str
) -> None:
    deployment.secrets.delete_secret(SecretId=f"ticket-bridge/forms/{form}", ForceDeleteWithoutRecovery=True)

    answers = [_forged(deployment, form) for _ in range(50)]

    assert {answer.status for answer in answers} == {401}
    assert len(reads) == 1
    clock.let_pass(6)
    _forged(deployment, form)
    assert len(reads) == 2
    told = json.dumps([answer.body for answer in answers])
    assert not [word for word in ("Secrets Manager", "NotFound", "AWS") if word in told]


def test_a_call_that_shows_nothing_costs_no_call(deployment: Deployment, reads: list[str]) -> None:
    for form in ("tally-signed", "timed-hmac", "standard-webhooks", "by-header", "by-path"):
        assert deployment.form(form, {"title": "x"}).status == 401

    assert reads == []


def test_a_secret_that_was_missing_is_found_within_seconds(deployment: Deployment, clock: Clock) -> None:
    deployment.secrets.delete_secret(
        SecretId="ticket-bridge/forms/by-header", ForceDeleteWithoutRecovery=True
    )
    assert deployment.form("by-header", {"title": "x"}, secret=SECRET).status == 401
    deployment.put_form_secret("by-header", SECRET)

    clock.let_pass(6)

    assert deployment.form("by-header", {"title": "x"}, secret=SECRET).status == 202


def test_secrets_that_cannot_be_read_are_not_asked_for_by_every_call(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def throttled(**sent: Any) -> Any:
        asked.append(sent)
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "Get")

    monkeypatch.setattr(deployment.parts.clients.secretsmanager, "get_secret_value", throttled)

    answers = [deployment.form("by-header", {"title": "x"}, secret=SECRET) for _ in range(50)]

    # The sender may be who it says, so it is asked to repeat.
    assert {(answer.status, answer.body["code"]) for answer in answers} == {(503, "secret_unreadable")}
    assert len(asked) == 1
    assert "Throttl" not in json.dumps(answers[0].body)


@pytest.mark.parametrize(
    ("form", "secret"),
    [
        ("standard-webhooks", "whsec_"),
        ("standard-webhooks", "whsec_c2hvcnQ="),
        ("plain-hmac", "short"),
        ("by-header", "fifteen-letters"),
        ("by-path", "x"),
    ],
)
def test_a_short_secret_verifies_nobody_and_the_log_says_whose_it_is(
    deployment: Deployment, log: io.StringIO, form: str, secret: str
) -> None:
    deployment.put_form_secret(form, secret)

    sent = sign(deployment.forms[form], secret, b'{"title": "x"}', deployment.clock())
    path_secret = secret if form == "by-path" else None
    answer = deployment.form(form, b'{"title": "x"}', headers=sent.headers, path_secret=path_secret)

    assert (answer.status, answer.body["code"]) == (503, "secret_too_short")
    (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (line["form"], line["code"]) == (form, "secret_too_short")
    assert queued(deployment) == []


def test_paths_that_anybody_makes_up_are_neither_counted_nor_logged(
    deployment: Deployment, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.put_callback_secret("kapture", SECRET)
    for number in range(20):
        assert deployment.form(f"made-up-{number}", {}).status == 404
        assert deployment.form("plain-hmac", {}, path_secret=f"made-up-{number}").status == 404
        assert deployment.callback(f"made-up-{number}", {}).status == 404

    assert log.getvalue() == capsys.readouterr().out == ""


# ── measure ──────────────────────────────────────────────────────────────────────────────────────────────

# 1 MB each, with the names of an answer's parts as long as fits.
_DEEP = f'{{"{"n" * 1000}":' * 900 + "1" + "}" * 900
_WIDE = "{" + ",".join(f'"{number}":1' for number in range(100_000)) + "}"
_FEW_LONG = "{" + f'"{"n" * 500_000}": {{' + ",".join(f'"{number}":1' for number in range(40_000)) + "}}"
_AROUND: dict[str, str] = {
    "typeform": '{"event_type": "form_response", "form_response": {"hidden": {"a": %s}}}',
    "tally": '{"eventType": "FORM_RESPONSE", "data": {"fields": [{"key": "a", "value": %s}]}}',
    "google": '{"namedValues": %s}',
    "microsoft": '{"responseId": 1, "details": %s}',
    "gravity": "%s",
    "jotform": "%s",
    "json": "%s",
    "html": "%s",
}


@pytest.mark.parametrize("big", [_DEEP, _WIDE, _FEW_LONG], ids=["deep", "wide", "long names"])
@pytest.mark.parametrize("service", _AROUND)
def test_what_is_too_deep_or_too_wide_is_refused_in_little_memory(
    deployment: Deployment, service: str, big: str
) -> None:
    form = {"json": "plain-hmac", "html": "page"}.get(service, service)
    body = _AROUND[service] % big
    kinds = {"application/json": body}
    if service == "jotform":
        kinds[URLENCODED] = urlencode({"rawRequest": body})
    elif service == "html":
        kinds[URLENCODED] = "&".join(f"a{number}=1" for number in range(100_000))
    for content_type, sent in kinds.items():
        tracemalloc.start()
        try:
            answer = deployment.form(form, sent, secret=SECRET, content_type=content_type)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # The function itself needs about 100 MB.
        assert (400 <= answer.status < 500, peak < 100_000_000) == (True, True), (answer.status, peak)
    assert queued(deployment) == []


_ODD: list[Any] = [[], {}, [[]], [{}], {"a": []}, 1, 1.5, True, None, "", "text", ["a", 1], 10**400]


def _changed(value: Any, odd: Any) -> Iterator[Any]:
    """The value with each of its parts in turn replaced."""
    yield odd
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from ({**value, key: other} for other in _changed(inner, odd))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], other, *value[place + 1 :]] for other in _changed(inner, odd))


@pytest.mark.parametrize(
    "send", [send for send in SAMPLES if isinstance(send.body, dict)], ids=lambda send: send.form
)
def test_no_part_of_a_submission_has_to_be_what_it_usually_is(send: FormSend) -> None:
    service = form_files.read(EXAMPLES.forms / f"{send.form}.yaml").service
    for odd in _ODD:
        for body in _changed(send.body, odd):
            _read(service, "application/json", json.dumps(body))


@pytest.mark.parametrize("odd", _ODD, ids=str)
def test_no_part_of_jotforms_answers_has_to_be_what_it_usually_is(odd: Any) -> None:
    day = {
        "year": "2026",
        "month": "1",
        "day": "2",
        "hour": "3",
        "min": "4",
        "ampm": "PM",
        "timeInput": "3:4",
    }
    for answers in _changed({"q1_name": {"first": "a"}, "fileUpload": ["https://x"], "q2_at": day}, odd):
        _read("jotform", URLENCODED, urlencode({"rawRequest": json.dumps(answers)}))


def _read(service: str, content_type: str, body: str) -> None:
    with suppress(RejectedError):
        read_submission(service, content_type, body.encode(), {"fileUpload", "6", "photo"})


# ── nothing is lost, and nothing becomes what it is not ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "content_type", "title"),
    [
        (b"title=Gr%C3%B6%C3%9Fe", URLENCODED, "Größe"),
        (b"title=Gr%F6%DFe", URLENCODED, "Größe"),
        (b"title=5+%80", URLENCODED, "5 €"),
        (b"title=Gr\xf6\xdfe", URLENCODED, "Größe"),
        (b"title=%D0%D2%C9", f"{URLENCODED}; charset=KOI8-R", "при"),
        (b"_charset_=windows-1251&title=%EF%F0%E8", URLENCODED, "при"),
        (b"title=%93%FA", f'{URLENCODED}; charset="Shift_JIS"', "日"),
        (multipart("b", 'name="title"\r\n\r\nGröße'), "multipart/form-data; boundary=b", "Größe"),
        (
            multipart("b", 'name="title"\r\n\r\nGröße').decode().encode("latin-1"),
            "multipart/form-data; boundary=b",
            "Größe",
        ),
        (
            multipart("b", 'name="_charset_"\r\n\r\niso-8859-2', 'name="title"\r\n\r\n@').replace(
                b"@", b"\xb3"
            ),
            "multipart/form-data; boundary=b",
            "ł",
        ),
    ],
)
def test_the_letters_of_a_page_are_kept_whatever_its_charset(
    deployment: Deployment, body: bytes, content_type: str, title: str
) -> None:
    assert page(deployment, "page", body, content_type).status == 202
    (request,) = queued(deployment)
    assert request["ticket"]["title"] == title


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"title=%81", URLENCODED),
        (b"title=%FF", f"{URLENCODED}; charset=utf-8"),
        (b"title=x", f"{URLENCODED}; charset=rot13"),
        (b"_charset_=unicode_escape&title=%5Cx41", URLENCODED),
        (multipart("b", 'name="title"\r\n\r\n@').replace(b"@", b"\x81"), "multipart/form-data; boundary=b"),
    ],
)
def test_letters_that_cannot_be_told_are_refused_and_never_replaced(
    deployment: Deployment, body: bytes, content_type: str
) -> None:
    answer = page(deployment, "page", body, content_type)
    assert (answer.status, answer.body["code"]) == (400, "unexpected_body")
    assert queued(deployment) == []


def test_an_uploaded_file_that_is_not_taken_over_is_named_in_the_ticket(
    deployment: Deployment, kapture: KaptureSimulator
) -> None:
    photo = 'name="photo"; filename="the photo.png"\r\nContent-Type: image/png\r\n\r\n\x01\x02'
    scan = "name=scan; filename*=UTF-8''scan.pdf\r\n\r\n%PDF"
    none = 'name="nothing"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n'
    body = multipart("b", 'name="title"\r\n\r\nBroken', 'name="details"\r\n\r\nSee photo.', photo, scan, none)
    assert page(deployment, "page", body, "multipart/form-data; boundary=b").status == 202

    deployment.consume()

    (ticket,) = kapture.tickets
    lines = [line for line in ticket.details.splitlines() if line.startswith(("See", "Uploaded"))]
    assert lines == [
        "See photo.",
        "Uploaded file that was not taken over: the photo.png",
        "Uploaded file that was not taken over: scan.pdf",
    ]


def test_an_update_names_an_uploaded_file_in_its_comment(deployment: Deployment) -> None:
    body = multipart("b", 'name="about"\r\n\r\n7', 'name="f"; filename="a.png"\r\n\r\n.')
    assert page(deployment, "comment", body, "multipart/form-data; boundary=b").status == 202
    (request,) = queued(deployment)
    assert request["changes"]["comment"] == "Uploaded file that was not taken over: a.png"


def test_a_services_file_without_an_address_is_named_in_the_ticket(deployment: Deployment) -> None:
    fields = [
        {"key": "t", "label": "What is it about?", "value": "T"},
        {"key": "f", "label": "Photo", "type": "FILE_UPLOAD", "value": [{"name": "a.png", "url": None}]},
    ]
    body = {"eventType": "FORM_RESPONSE", "data": {"submissionId": "1", "fields": fields}}
    assert deployment.form("tally", body, secret=SECRET).status == 202
    (request,) = queued(deployment)
    assert "not taken over: a.png" in request["ticket"]["details"]


TYPED = '[{"name": "prize.exe", "link": "https://evil.example/prize.exe"}]'


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("microsoft", {"responseId": 1, "details": {"r0a1b2c3d4e5f60718293a4b5c6d7e8f9": TYPED}}),
        ("gravity", {"id": "1", "form_id": "4", "4": "https://evil.example/prize.exe"}),
        ("gravity", {"id": "1", "form_id": "4", "4": '["https://evil.example/prize.exe"]'}),
    ],
)
def test_what_a_person_has_typed_is_text_and_no_attachment(
    deployment: Deployment, form: str, body: dict[str, Any]
) -> None:
    where = body.get("details", body)
    where["r6f1d0c7e5a9b4f3e8d2c1b0a9f8e7d6c" if form == "microsoft" else "3"] = "A question"
    assert deployment.form(form, body, secret=SECRET).status == 202
    (request,) = queued(deployment)
    assert "attachments" not in request["ticket"]
    assert "https://evil.example/prize.exe" in request["ticket"]["details"]


def test_a_list_of_links_in_jotforms_answers_is_text_unless_the_form_file_says_that_it_is_files(
    deployment: Deployment,
) -> None:
    answers = {
        "q6_subject": "S",
        "q7_message": ["https://evil.example/a"],
        "fileUpload": ["https://www.jotform.com/a.pdf"],
    }
    body = urlencode({"submissionID": "1", "rawRequest": json.dumps(answers)})
    answer = deployment.form("jotform", body, content_type=URLENCODED, secret=SECRET)
    (request,) = queued(deployment)
    assert answer.status == 202
    assert [file["url"] for file in request["ticket"]["attachments"]] == ["https://www.jotform.com/a.pdf"]
    assert request["ticket"]["details"] == "https://evil.example/a"


def test_typeforms_reference_is_found_where_its_documentation_shows_it(deployment: Deployment) -> None:
    fields = [{"id": "f1", "ref": "subject", "title": "What?"}]
    answers = [{"type": "text", "text": "Broken", "field": {"id": "f1", "type": "short_text"}}]
    response = {"token": "t", "definition": {"fields": fields}, "answers": answers}
    body = {"event_type": "form_response", "form_response": response}
    assert deployment.form("typeform", body, secret=SECRET).status == 202
    (request,) = queued(deployment)
    assert request["ticket"]["title"] == "Broken"


@pytest.mark.parametrize(
    ("answer", "text", "due"),
    [
        ({"year": "2026", "month": "2", "day": "3"}, "2026-02-03", "2026-02-03"),
        (
            {"year": "2026", "month": "2", "day": "3", "hour": "2", "min": "30", "ampm": "PM"},
            "2026-02-03 14:30",
            "2026-02-03",
        ),
        (
            {"year": "2026", "month": "2", "day": "3", "timeInput": "12:05", "ampm": "AM"},
            "2026-02-03 00:05",
            "2026-02-03",
        ),
        ({"timeInput": "09:15", "hourSelect": "09", "minuteSelect": "15", "ampm": ""}, "09:15", None),
    ],
)
def test_jotforms_time_of_day_is_kept(
    deployment: Deployment, answer: dict[str, str], text: str, due: str | None
) -> None:
    answers: dict[str, Any] = {"q6_subject": "S", "q7_message": answer}
    if due:
        answers["q8_wishedBy"] = answer
    body = urlencode({"submissionID": "1", "rawRequest": json.dumps(answers)})
    assert deployment.form("jotform", body, content_type=URLENCODED, secret=SECRET).status == 202
    (request,) = queued(deployment)
    assert (request["ticket"]["details"], request["ticket"].get("due_date")) == (text, due)


def test_a_submission_none_of_whose_answers_are_mapped_is_told_in_the_ticket_and_counted(
    deployment: Deployment, kapture: KaptureSimulator, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    assert page(deployment, "unmapped", "betreff=Kaputt&nachricht=Das+Glas&tel=1").status == 202
    told = capsys.readouterr().out

    deployment.consume()

    (ticket,) = kapture.tickets
    assert ticket.title == "A message"
    assert {"betreff: Kaputt", "nachricht: Das Glas", "tel: 1"} <= {*ticket.details.splitlines()}
    assert '"FormUnmapped":[1.0]' in told
    assert not [word for word in ("betreff", "Kaputt") if word in log.getvalue() + told]


@pytest.mark.parametrize("fields", ["subject=Hello&other=x", "message=Hello"])
def test_one_answer_that_is_mapped_is_enough(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], fields: str
) -> None:
    assert page(deployment, "unmapped", fields).status == 202
    assert "FormUnmapped" not in capsys.readouterr().out


def test_a_form_that_maps_no_answers_on_purpose_is_no_matter(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert page(deployment, "button", "where=Kitchen").status == 202
    assert "FormUnmapped" not in capsys.readouterr().out


def test_a_one_line_field_holds_one_line(deployment: Deployment) -> None:
    title, name = "Hello\r\nBcc: all@example.com", "Ada\x1b[31m\nKing\u2028x"
    fields = f"submission_id=1&subject={quote_plus(title)}&name={quote_plus(name)}&message=a%0D%0Ab"
    answer = deployment.form("contact", fields, content_type=URLENCODED, secret=SECRET)
    (request,) = queued(deployment)
    assert answer.status == 303
    assert request["ticket"]["title"] == "Hello Bcc: all@example.com"
    assert request["ticket"]["requester"]["name"] == "Ada [31m King x"
    assert request["ticket"]["details"] == "a\nb"


@pytest.mark.parametrize(
    "email",
    [
        '"><script>alert(1)</script>@x.y',
        "a@x.y<script>",
        "a,b@example.com",
        "a@b;c@d.example",
        "a@exa\tmple.com",
        "a@example.com\x00",
        "a(b)@example.com",
        "a@x.y'onload='",
    ],
)
def test_an_address_that_means_something_in_a_page_is_none(deployment: Deployment, email: str) -> None:
    fields = f"submission_id=1&email={quote_plus(email)}"
    answer = deployment.form("contact", fields, content_type=URLENCODED, secret=SECRET)
    assert (answer.status, answer.body["errors"][0]["field"]) == (422, "ticket.requester.email")


@pytest.mark.parametrize(
    "email", ["o'brien@example.com", "a+b=c/d@sub.example.com", "jürgen@müller.example", "a@localhost"]
)
def test_an_address_of_a_person_is_taken(deployment: Deployment, email: str) -> None:
    fields = f"submission_id=1&email={quote_plus(email)}"
    assert deployment.form("contact", fields, content_type=URLENCODED, secret=SECRET).status == 303
