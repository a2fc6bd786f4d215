"""Form files: what is said of a wrong one, and the request that each sample of a form becomes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.commands.mapping import map_command
from bridge.errors import BridgeError
from bridge.generate import form_files
from bridge.sending import samples
from bridge.sending.samples import FormSend, Sample
from helpdesk.http.forms.form_file import load_forms
from helpdesk.http.forms.services import Submission, read_submission
from helpdesk.http.signatures import Hmac
from helpdesk.intake.requests import Defaults, read_body

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / "examples" / "forms").glob("*.yaml"))
SAMPLES = [sample for sample in samples.read_all(ROOT / "examples" / "samples") if sample.becomes is not None]

GOOD = """\
service: html
verify: {scheme: path}
request:
  operation: add
  ticket:
    title: answers.subject
    details: answers.message
"""


def problems(text: str, name: str = "contact") -> list[str]:
    with pytest.raises(BridgeError) as caught:
        form_files.parse(name, f"{name}.yaml", text)
    return str(caught.value).splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good form file."""
    (tmp_path / "forms").mkdir()
    (tmp_path / "forms" / "contact.yaml").write_text(GOOD)
    return tmp_path / "forms"


def becomes(ticket: str, answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The ticket of a form whose fields are given in YAML's flow style."""
    text = f"service: json\nverify: {{scheme: none}}\nrequest: {{operation: add, ticket: {ticket}}}\n"
    form = form_files.parse("form", "form.yaml", text)
    body = form.request_of(Submission(answers=answers, id="1", **more)).body
    ticket_of: dict[str, Any] = body["ticket"]
    return ticket_of


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "contact.yaml"
    file.write_bytes("description: Étage\n".encode("latin-1"))

    for read in (lambda: form_files.read(file), lambda: form_files.compile_all(tmp_path)):
        with pytest.raises(BridgeError, match=r"contact\.yaml: is no text in UTF-8$"):
            read()


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_every_form_file_has_a_sample(path: Path) -> None:
    form_files.read(path)
    assert [
        sample for sample in SAMPLES if isinstance(sample.send, FormSend) and sample.send.form == path.stem
    ]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_becomes_exactly_the_request_that_it_says(sample: Sample) -> None:
    assert isinstance(sample.send, FormSend)
    form = form_files.read(ROOT / "examples" / "forms" / f"{sample.send.form}.yaml")
    submission = read_submission(form.service, sample.send.content_type, sample.send.raw, form.uploads)
    assert submission

    mapped = form.request_of(submission)

    assert (mapped.body, mapped.failures, mapped.is_unmapped) == (sample.becomes, [], False)
    read_body(mapped.body, Defaults("x", form.source, "kapture"))


def test_the_build_and_the_function_read_the_same() -> None:
    loaded = load_forms(form_files.compile_all(ROOT / "examples" / "forms"))
    assert loaded == {path.stem: form_files.read(path) for path in FORMS}


def test_the_function_gets_each_default_and_the_signature_that_a_service_means(folder: Path) -> None:
    text = GOOD.replace("html", "tally").replace("path", "tally") + "names: {q1: photo}\nuploads: [photo]\n"
    (folder / "contact.yaml").write_text(text)

    form = load_forms(form_files.compile_all(folder))["contact"]

    assert (form.source, form.keeps_invalid, form.status, form.burst) == ("form/contact", True, 202, 200)
    assert isinstance(form.verify, Hmac)
    assert (form.verify.header, form.verify.signed) == ("tally-signature", "{body}")
    assert list(form.uploads) == ["photo", "q1"]
    assert form.request["request_id"] == "submission.id"


# ── wrong files ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("answers.subject", '"a b["'), "contact.yaml:6: request.ticket.title: is no JMESPath"),
        (GOOD.replace("title:", "titel:"), "contact.yaml:6: request.ticket.titel: is not a known key"),
        (
            GOOD.replace("    title: answers.subject\n", ""),
            "contact.yaml:5: request.ticket.title: is missing",
        ),
        (GOOD.replace("html", "fax"), "contact.yaml:1: service: Input should be 'typeform'"),
        (GOOD.replace("path", "paht"), "contact.yaml:2: verify: scheme must be one of hmac, typeform"),
        (GOOD.replace("add", "remove"), "contact.yaml:3: request: must be add or update"),
        (
            GOOD.replace("answers.message", "{constnt: x}"),
            "contact.yaml:7: request.ticket.details: must be an expression",
        ),
        (
            GOOD + "    extra:\n      block:\n        a: {constant: 1, b: 2}\n",
            "contact.yaml:10: request.ticket.extra.block.a.constant.b: is not a known key",
        ),
        (GOOD + "    tags: [answers.a, '[']\n", "contact.yaml:8: request.ticket.tags.1: is no JMESPath"),
        (GOOD + "answer: {redirect: 'javascript:alert(1)'}\n", "contact.yaml:8: answer.redirect: "),
        (GOOD + "answer: {redirect: '//elsewhere.example'}\n", "contact.yaml:8: answer.redirect: "),
        (GOOD + "service: json\n", "contact.yaml:8: service: stands twice"),
        (GOOD + "yes: 1\n", "contact.yaml:8: yes: is not a known key"),
        (GOOD + "description: &a [*a]\n", "contact.yaml:8: file: is no YAML: it holds itself"),
        (GOOD + " - [\n", "contact.yaml:8: file: is no YAML"),
        ("", "contact.yaml:1: file: must hold keys"),
        ("- a\n", "contact.yaml:1: file: must hold keys"),
        (GOOD + "x: !!python/name:os.system ''\n", "contact.yaml:8: file: is no YAML"),
        (GOOD + "x: !!python/object/apply:os.system [ls]\n", "contact.yaml:8: x: is not a known key"),
    ],
)
def test_a_wrong_file_is_told_by_file_line_and_field(text: str, problem: str) -> None:
    (line,) = [line for line in problems(text) if line.startswith(problem)]
    assert line


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = GOOD.replace("answers.subject", "'['").replace("answers.message", "']'").replace("html", "fax")
    assert [line.partition(": ")[0] for line in problems(text)] == [
        "contact.yaml:1",
        "contact.yaml:6",
        "contact.yaml:7",
    ]


@pytest.mark.parametrize("name", ["Contact", "a_b", "-a", "a" * 33, "a.b", "a/b"])
def test_a_name_that_could_not_stand_in_an_address_is_none(name: str) -> None:
    assert "takes a-z, 0-9 and -" in problems(GOOD, name)[0]


def test_the_build_ends_with_what_is_wrong_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "forms.json"
    (folder / "contact.yaml").write_text(GOOD.replace("html", "fax"))
    with pytest.raises(SystemExit, match=r"contact\.yaml:1: service"):
        form_files.main([str(folder), str(output)])
    assert not output.exists()


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_there_is_left_out() -> None:
    ticket = (
        "{title: answers.t, details: answers.d, requester: {email: answers.e}, tags: answers.g,"
        " extra: {a: {b: answers.x}}}"
    )
    assert becomes(ticket, {"t": "Help", "d": "", "g": []}) == {"title": "Help"}


def test_defaults_constants_and_joins() -> None:
    ticket = (
        "{title: {join: [{constant: Order}, answers.n, answers.none, {constant: failed}], with: ' - '},"
        " queue: {value: answers.q, default: support}, disposition: {constant: A|B}}"
    )
    assert becomes(ticket, {"n": 7, "q": ""}) == {
        "title": "Order - 7 - failed",
        "queue": "support",
        "disposition": "A|B",
    }


def test_a_value_is_chosen_by_an_answer() -> None:
    ticket = "{title: answers.t, queue: {choose: answers.t, of: {A: alpha, B: beta}, default: other}}"
    assert [becomes(ticket, {"t": topic})["queue"] for topic in "ABC"] == ["alpha", "beta", "other"]


def test_texts_read_as_people_write_them() -> None:
    lines = "{lines: {Yes: answers.y, Many: answers.m, None: answers.n, 3: answers.i}}"
    ticket = f"{{title: answers.t, details: {lines}}}"
    answers = {"t": "T", "y": True, "m": ["a", "", "b"], "i": 2.5}
    assert becomes(ticket, answers)["details"] == "Yes: yes\nMany: a, b\n3: 2.5"


def test_tags_are_spread_and_each_stands_once() -> None:
    assert becomes(
        "{title: answers.t, tags: [{constant: web}, answers.g, answers.t]}", {"t": "T", "g": ["a", "web"]}
    )["tags"] == ["web", "a", "T"]


def test_extra_blocks_keep_their_shape_and_types() -> None:
    ticket = (
        "{title: answers.t, extra: {value: answers.t, order: {items: 'answers.i[].sku',"
        " count: 'length(answers.i)', list: [answers.t, answers.none, {constant: {deep: 1}}]}}}"
    )
    assert becomes(ticket, {"t": "T", "i": [{"sku": "x"}, {"sku": "y"}]})["extra"] == {
        "value": "T",
        "order": {"items": ["x", "y"], "count": 2, "list": ["T", {"deep": 1}]},
    }


def test_an_answer_is_data_and_never_an_expression() -> None:
    assert becomes("{title: answers.t}", {"t": "answers.secret", "secret": "x"}) == {
        "title": "answers.secret"
    }


def test_an_expression_that_fails_leaves_its_field_out_and_is_told() -> None:
    text = GOOD.replace("answers.message", '"length(answers.number)"')
    form = form_files.parse("form", "form.yaml", text)
    mapped = form.request_of(Submission(answers={"subject": "T", "number": 5}, id="1"))
    assert (mapped.body["ticket"], mapped.failures) == ({"title": "T"}, ["length(answers.number)"])


@pytest.mark.parametrize(
    ("own", "request_id"),
    [("12", "form:12"), ("a b", None), ("ü", None), ("x" * 130, None), ("a/b?c", "form:a/b?c")],
)
def test_a_request_id_names_the_form_and_always_fits(own: str, request_id: str | None) -> None:
    form = form_files.parse("form", "form.yaml", GOOD)
    submission = Submission(answers={"subject": "T"}, id=own)

    body = form.request_of(submission).body

    assert body["request_id"] == request_id or (request_id is None and len(body["request_id"]) == 37)
    assert (
        form.request_of(replace(submission, answers={"subject": "U"})).body["request_id"]
        == body["request_id"]
    )


# ── bridge map ───────────────────────────────────────────────────────────────────────────────────────────


def test_map_shows_the_request_of_a_sample() -> None:
    done = CliRunner(mix_stderr=False).invoke(
        map_command, ["tally", str(ROOT / "examples" / "samples" / "form_add_tally.json")]
    )
    (sample,) = [sample for sample in SAMPLES if sample.name == "form_add_tally"]
    assert json.loads(done.stdout) == sample.becomes


@pytest.mark.parametrize(
    "saved",
    [
        "subject=Help&message=Me",
        '--b\r\nContent-Disposition: form-data; name="subject"\r\n\r\nHelp\r\n'
        '--b\r\nContent-Disposition: form-data; name="message"\r\n\r\nMe\r\n--b--\r\n',
    ],
)
def test_map_reads_a_saved_body(tmp_path: Path, saved: str) -> None:
    file = tmp_path / "contact.yaml"
    file.write_text(GOOD)
    body = tmp_path / "body"
    body.write_bytes(saved.encode())

    done = CliRunner(mix_stderr=False).invoke(map_command, [str(file), str(body)])

    assert json.loads(done.stdout)["ticket"] == {"title": "Help", "details": "Me"}


def test_map_names_what_the_helpdesk_would_never_see(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_text("email=nobody")

    done = CliRunner().invoke(map_command, ["contact", str(body)])

    assert "ticket.requester.email must be an e-mail address" in str(done.exception)


@pytest.mark.parametrize(
    ("helpdesk", "problem"),
    [
        ("kapture", "changes.sub_status is required by kapture"),
        ("socialboards", "helpdesk must be kapture (stage prod)"),
    ],
)
def test_map_refuses_what_the_helpdesk_of_a_stage_would_never_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helpdesk: str, problem: str
) -> None:
    monkeypatch.setenv("BRIDGE_FOLDER", str(tmp_path))
    served = '[stages.{0}.parameters]\nHelpdesks = "{1}"\nKaptureUrl = "https://a.kapturecrm.com"\n'
    both = served.format("test", "kapture,socialboards")
    (tmp_path / "bridge.toml").write_text(served.format("prod", "kapture") + both)
    form = f"service: json\nverify: {{scheme: none}}\nhelpdesk: {helpdesk}\n"
    form += "request: {operation: update, ticket_id: answers.ticket, changes: {comment: answers.note}}\n"
    (tmp_path / "note.yaml").write_text(form)
    (tmp_path / "body").write_text('{"ticket": "1", "note": "N"}')

    done = CliRunner(mix_stderr=False).invoke(
        map_command, [str(tmp_path / "note.yaml"), str(tmp_path / "body")]
    )

    assert done.exit_code == 1
    assert str(done.exception).splitlines()[1:] == [f"  {problem}"]


def test_map_names_answers_and_expressions_that_do_not_meet(tmp_path: Path) -> None:
    lines = '{lines: {A: answers.a, B: "files[].url"}}'
    form = GOOD.replace("html", "typeform").replace("answers.message", lines)
    form = form.replace("answers.subject", '{join: [{constant: Order}, answers."name.first"], with: " "}')
    form = form.replace('answers."name.first"', "'answers.\"name.first\"'")
    (tmp_path / "f.yaml").write_text(form)
    fields = [{"id": "1", "ref": "b", "title": "Second b"}, {"id": "2", "ref": "name", "title": "Name"}]
    answers = [
        {"type": "text", "text": "a text", "field": {"id": "1", "ref": "b", "type": "short_text"}},
        {"type": "file_url", "file_url": "https://a.example/f", "field": {"id": "3", "ref": "file"}},
    ]
    response = {"token": "t", "definition": {"fields": fields}, "answers": answers}
    (tmp_path / "body").write_text(json.dumps({"event_type": "form_response", "form_response": response}))

    done = CliRunner(mix_stderr=False).invoke(map_command, [str(tmp_path / "f.yaml"), str(tmp_path / "body")])

    notes = [line for line in done.stderr.splitlines() if "expression" in line]
    assert notes == [
        "no expression uses the answer b / 1 / Second b",
        'this expression finds nothing: answers."name.first"',
        "this expression finds nothing: answers.a",
    ]


def test_map_ends_with_status_1_where_there_is_no_request(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(GOOD.replace("html", "tally"))
    (tmp_path / "body").write_text('{"eventType": "FORM_OPENED"}')

    done = CliRunner(mix_stderr=False).invoke(map_command, [str(tmp_path / "f.yaml"), str(tmp_path / "body")])

    assert done.exit_code == 1
    assert "becomes no request" in str(done.exception)
