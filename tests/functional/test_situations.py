"""What `bridge doctor` says of helpdesks that are not called, and the words for what is parked."""

import io
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from click.testing import CliRunner

from bridge.checks.stack import Examined, outages, raised_alarms
from bridge.commands import operate
from bridge.commands.doctor import form_secrets
from bridge.local.state import PROJECT
from bridge.operating.operations import Listing, Operations, ParkedCopy
from bridge.operating.parked import ADVICE, in_words
from bridge.simulators.faults import Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import Deployment

FORM = """\
service: json
verify: {scheme: path}
request: {operation: add, ticket: {title: answers.title}}
"""
ADD = {"operation": "add", "request_id": "order-1", "ticket": {"title": "Parcel"}}


def _into_cloudwatch(log: io.StringIO, function: str) -> None:
    """What a function of these tests has logged, where that of a stack logs it."""
    logs, name = boto3.client("logs"), f"/aws/lambda/ticket-bridge-{function}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    now = int(time.time() * 1000)
    lines: Any = [{"timestamp": now, "message": line} for line in log.getvalue().splitlines()]
    logs.put_log_events(logGroupName=name, logStreamName="one", logEvents=lines)


@pytest.mark.parametrize(
    ("fault", "what", "why", "change"),
    [
        pytest.param(
            Fault(status=429),
            "Kapture answers 429, too many calls (since ",
            "Kapture answered 429 (too many calls). ",
            "Nothing to do now. If it comes again: KaptureBudget in bridge.toml, below what Kapture allows"
            " (now no limit), then bridge deploy",
            id="too_many_calls",
        ),
        pytest.param(
            Fault(status=429, headers={"Retry-After": "120"}),
            "Kapture asked us to wait until ",
            "Kapture answered 429 (too many calls). ",
            "Nothing to do now. If it comes again: KaptureBudget in bridge.toml, ",
            id="too_many_calls_with_a_time",
        ),
        pytest.param(
            Fault(status=502),
            "Kapture is down (closed since ",
            "Kapture answered 502. ",
            "Nothing to do. To follow it: bridge logs ticket-queue --stack ticket-bridge",
            id="down",
        ),
    ],
)
def test_doctor_says_why_a_helpdesk_is_not_called_and_what_helps(
    deployment: Deployment,
    kapture: KaptureSimulator,
    operations: Operations,
    log: io.StringIO,
    fault: Fault,
    what: str,
    why: str,
    change: str,
) -> None:
    kapture.faults.add(FaultRule(operation="*", fault=fault))
    deployment.send(ADD)
    deployment.consume()
    _into_cloudwatch(log, "ticket-queue")
    settings = deployment.parts.settings
    stack = cast("Examined", SimpleNamespace(target=operations.target, settings=settings))

    (finding,) = outages(stack)

    assert finding.what.startswith(what)
    assert finding.why == f"{why}Requests are accepted; none is lost."
    assert finding.change.startswith(change)
    # The console says the same, and so does the status.
    outage = operations.outage("kapture", operations.gate("kapture").read())
    assert outage is not None
    assert outage.sentence(operations.waiting()) == finding.what
    assert operations.outages() == [outage]
    assert ("429" in outage.short) == finding.what.startswith("Kapture answers 429")


@pytest.mark.parametrize("alarm", ["dead-letters", "paused"])
def test_doctor_says_of_an_alarm_that_its_cause_is_gone(
    deployment: Deployment, operations: Operations, alarm: str
) -> None:
    name, watch = f"ticket-bridge-{alarm}", operations.target.cloudwatch
    watch.put_metric_alarm(
        AlarmName=name,
        AlarmDescription="Something. First: bridge look.",
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    deployment.send({"operation": "add", "request_id": "wrong"})
    deployment.consume()
    operations.gate("kapture").pause()

    (held,) = raised_alarms(Examined(operations.target))
    operations.gate("kapture").resume()
    deployment.drain(deployment.dead_letter_queue)
    (over,) = raised_alarms(Examined(operations.target))

    assert (held.why, held.change) == ("Something.", "bridge look")
    assert over.why.startswith("What it was raised for is over.")
    assert over.change == "Nothing to do: it clears by itself"


def test_doctor_names_a_form_without_a_secret_also_far_from_its_folder(
    deployment: Deployment,
    operations: Operations,
    log: io.StringIO,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forms = tmp_path / "forms"
    forms.mkdir()
    for name in ("lost", "other"):
        (forms / f"{name}.yaml").write_text(FORM)
    deployment.deploy_forms(forms, tmp_path / "forms.json")
    monkeypatch.setenv("BRIDGE_FOLDER", str(tmp_path / "elsewhere"))
    for _ in range(3):
        assert deployment.form("lost", {"title": "a"}, path_secret="a-secret-of-16-bytes").status == 401
    _into_cloudwatch(log, "form-intake")

    (finding,) = form_secrets(Examined(operations.target))
    deployment.put_form_secret("lost", "a-secret-of-16-bytes")

    assert re.fullmatch(r"The form lost has no secret\. Submissions refused since [\d:]+Z: 3\.", finding.what)
    assert finding.change.startswith(
        "aws secretsmanager create-secret --name ticket-bridge/forms/lost --secret-string "
    )
    assert list(form_secrets(Examined(operations.target))) == []


def test_doctor_names_a_form_whose_secret_holds_the_dots_of_the_line_that_was_copied(
    deployment: Deployment, operations: Operations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BRIDGE_FOLDER", str(tmp_path))
    deployment.put_form_secret("returns", "...")
    later = datetime.now(UTC) + timedelta(minutes=1)
    line = {
        "level": "WARNING",
        "message": "submission refused",
        "form": "returns",
        "code": "secret_too_short",
    }
    line["timestamp"] = later.strftime("%Y-%m-%d %H:%M:%S,000%z")
    _into_cloudwatch(io.StringIO(json.dumps(line)), "form-intake")

    (finding,) = form_secrets(Examined(operations.target))

    assert finding.what.startswith("The secret of the form returns cannot be used: ")
    assert finding.change.startswith(
        "aws secretsmanager put-secret-value --secret-id ticket-bridge/forms/returns "
    )


def _copy(request_id: str, code: str, source: str, why: str) -> ParkedCopy:
    attributes = {"request_id": request_id, "code": code, "source": source, "operation": "add"}
    return ParkedCopy("{}", attributes | {"why": json.dumps({"message": why})}, "handle", request_id, 1e9)


def test_a_thousand_parked_copies_are_told_by_code_and_reason_with_the_command_against_each() -> None:
    copies = [_copy(f"a-{number}", "expired", "shop", "no answer") for number in range(600)]
    copies += [_copy(f"b-{number}", "refused_by_helpdesk", "crm", "no queue") for number in range(300)]
    copies += [_copy(f"b-{number}", "refused_by_helpdesk", "crm", "no queue") for number in range(50)]
    copies += [_copy(f"c-{number}", "outcome_unknown", "shop", f"lost {number % 9}") for number in range(50)]

    lines = list(in_words(Listing(tuple(copies), 1000), lambda text: f"bridge {text} --stack s"))

    assert lines[0] == "950 requests (1000 copies) are parked, the oldest since 2001-09-09 01:46:40Z."
    refused = "   300  refused_by_helpdesk (350 copies)"
    assert lines[1:4] == ["   600  expired", refused, "    50  outcome_unknown"]
    assert "expired, since 2001-09-09 01:46:40Z, from shop (600):" in lines
    assert "   600  add a-0, add a-1, add a-2, add a-3, add a-4, …" in lines
    assert "  bridge redrive --code expired --stack s" in lines
    assert "  bridge redrive --request-id c-0 --stack s" in lines
    assert "bridge redrive --code outcome_unknown" not in "\n".join(lines)
    assert lines[-4].endswith("for 6 other reasons: --json lists all")
    assert len(lines) < 30


def test_every_code_of_the_runbook_has_its_command() -> None:
    runbook = (PROJECT / "docs" / "operate.md").read_text().split("### dead-letters")[1].split("###")[0]
    rows = [row.split("|")[1] for row in runbook.splitlines() if row.startswith("| `")]

    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == {*ADVICE}


def test_many_copies_that_would_be_sent_are_counted_and_those_that_an_interrupted_redrive_left_are_spoken_of(
    deployment: Deployment, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "operations_on", lambda *_: operations)
    for number in range(45):
        code: Any = {"DataType": "String", "StringValue": "expired" if number % 3 else "conflict"}
        deployment.sqs.send_message(
            QueueUrl=deployment.dead_letter_queue,
            MessageBody=json.dumps({**ADD, "request_id": f"r-{number}"}),
            MessageAttributes={"code": code},
        )

    shown = CliRunner(mix_stderr=False).invoke(operate.redrive, ["--all", "--dry-run"])
    slip = CliRunner(mix_stderr=False).invoke(operate.redrive, ["--code", "expird", "--dry-run"])
    operations.target.__dict__["requests_queue_url"] = f"{deployment.requests}-gone"
    failed = CliRunner(mix_stderr=False).invoke(operate.redrive, ["--all", "--yes"])

    lines = shown.stdout.splitlines()
    assert lines[-4:-1] == ["… and 25 more copies. All of them:", "    30  expired", "    15  conflict"]
    assert lines[-1] == "45 requests would be sent again."
    assert slip.stdout == "0 requests would be sent again.\n"
    where = operations.target.command("parked")
    assert f"45 requests parked, and none is meant. See: {where}\n" in slip.stderr
    assert "Ended early: at least 0 requests sent again; the others stay parked." in failed.stderr
    assert len(operations.parked().copies) == 45


def test_what_a_sender_has_named_cannot_run_in_the_shell_of_who_copies_the_line() -> None:
    copies = (_copy("$(reboot)\x1b[31m", "crashed", "shop", ""),)

    lines = "\n".join(in_words(Listing(copies, 1), lambda text: f"bridge {text}"))

    assert "bridge redrive --request-id '$(reboot)\\x1b[31m'" in lines


@pytest.mark.parametrize(
    ("request_id", "line"),
    [
        ("order-1", "bridge edit order-1 --stack {}"),
        ("a -- b", "bridge edit 'a -- b' --stack {}"),
        ("--file=/etc/passwd", "bridge edit --stack {} -- --file=/etc/passwd"),
    ],
)
def test_what_a_sender_has_named_is_no_option_of_the_line_that_is_copied(
    operations: Operations, request_id: str, line: str
) -> None:
    copies = (_copy(request_id, "not_json", "shop", ""),)

    lines = list(in_words(Listing(copies, 1), replace(operations.target, endpoint_url=None).command))

    assert lines[-1].strip() == line.format(operations.target.name)
