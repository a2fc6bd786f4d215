"""Settings that work and are risky all the same."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from bridge import cli
from bridge.checks.stack import CHECKS, Examined
from bridge.commands.doctor import stack_findings
from bridge.stacks.target import Target, words_of

OPEN = """\
service: json
verify: {scheme: none}
request: {operation: add, ticket: {title: answers.title}}
"""


def test_a_form_that_verifies_nobody_is_named_with_the_line_to_change(tmp_path: Path) -> None:
    (tmp_path / "open.yaml").write_text(OPEN)
    (tmp_path / "other.yml").write_text(OPEN)
    (tmp_path / "signed.yaml").write_text(OPEN.replace("none", "path"))

    result = CliRunner(mix_stderr=False).invoke(
        cli.bridge, ["doctor", "--forms", str(tmp_path), "--state-dir", str(tmp_path / "none")]
    )

    assert result.exit_code == 1
    assert "open.yaml: give verify" in result.output
    assert "other.yml: give verify" in result.output
    assert "signed" not in result.output


def test_without_a_stack_there_is_no_all_clear(tmp_path: Path) -> None:
    result = CliRunner(mix_stderr=False).invoke(cli.bridge, ["doctor", "--state-dir", str(tmp_path)])

    assert result.exit_code == 1
    (finding,) = result.stdout.strip().split("\n\n")
    assert finding.startswith("No stack was looked at")
    assert "bridge doctor --stack NAME" in finding
    assert "Nothing was found" not in result.output


def test_findings_can_be_read_by_programs(tmp_path: Path) -> None:
    (tmp_path / "open.yaml").write_text(OPEN)
    options = ["--json", "--forms", str(tmp_path), "--state-dir", str(tmp_path / "none")]

    result = CliRunner(mix_stderr=False).invoke(cli.bridge, ["doctor", *options])

    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(finding.keys() == {"what", "why", "change"} for finding in findings)
    assert "open.yaml" in findings[-1]["change"]


class Forbidding:
    """Every client of an account in which these credentials may do nothing."""

    region_name = "eu-west-1"
    exceptions = SimpleNamespace(ResourceNotFoundException=KeyError)

    def client(self, _service: str, endpoint_url: str | None = None) -> Any:
        return self

    def __getattr__(self, _operation: str) -> Any:
        return self._refuse

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise refusal("AccessDenied", "User: x is not authorized to perform: sqs:Any on resource: y")


def refusal(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeAlarms")


def test_a_right_that_is_missing_costs_one_line_of_the_report() -> None:
    session: Any = Forbidding()
    target = Target(session, None, "shop", "requests", "dead-letters", "ledger", ("kapture",))

    (finding,) = stack_findings(Examined(target))

    assert finding.what.startswith("Not checked: raised alarms, queues, tokens, refused keys, outages, ")
    assert finding.what.count(",") == len(CHECKS)
    assert finding.what.endswith(". These credentials may not do sqs:Any.")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "These credentials may not do DescribeAlarms."),
        ("ExpiredToken", "These AWS credentials have expired. Log in again."),
        ("InvalidClientTokenId", "AWS does not know these credentials. Check AWS_PROFILE."),
    ],
)
def test_a_refusal_of_aws_is_said_in_a_line(code: str, words: str) -> None:
    assert words_of(refusal(code)) == words


def test_remedies_name_the_stack_that_was_looked_at() -> None:
    session: Any = Forbidding()
    names = ("shop", "requests", "dead-letters", "ledger", ("kapture",))
    deployed = Target(session, None, *names)
    local = Target(session, "http://127.0.0.1:1", *names, state_folder="/tmp/state")

    assert deployed.where == "Stack shop in eu-west-1"
    assert deployed.command("resume") == "bridge resume --stack shop"
    assert local.command("resume") == "bridge resume --state-dir /tmp/state"
    assert (deployed.deploy, local.deploy) == ("bridge deploy", "bridge deploy local --state-dir /tmp/state")
    assert local.as_here("First: bridge parked --stack shop.") == (
        "First: bridge parked --state-dir /tmp/state."
    )
