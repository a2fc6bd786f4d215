"""Settings that work and are risky all the same."""

import json
from pathlib import Path

from click.testing import CliRunner

from bridge import cli

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


def test_the_forms_that_are_shipped_all_verify_their_sender(tmp_path: Path) -> None:
    result = CliRunner(mix_stderr=False).invoke(cli.bridge, ["doctor", "--state-dir", str(tmp_path)])

    assert result.exit_code == 0
    assert "only the form files" in result.stderr


def test_findings_can_be_read_by_programs(tmp_path: Path) -> None:
    (tmp_path / "open.yaml").write_text(OPEN)
    options = ["--json", "--forms", str(tmp_path), "--state-dir", str(tmp_path / "none")]

    result = CliRunner(mix_stderr=False).invoke(cli.bridge, ["doctor", *options])

    assert json.loads(result.stdout).keys() == {"what", "why", "change"}
