"""Settings that work and are risky all the same."""

from pathlib import Path

from click.testing import CliRunner

from bridge import cli
from bridge.state import PROJECT

OPEN = """\
service: json
verify: {scheme: none}
request: {operation: add, ticket: {title: answers.title}}
"""


def test_a_form_that_verifies_nobody_is_named_with_the_line_to_change(tmp_path: Path) -> None:
    (tmp_path / "open.yaml").write_text(OPEN)
    (tmp_path / "signed.yaml").write_text(OPEN.replace("none", "path"))

    result = CliRunner().invoke(cli.bridge, ["doctor", "--forms", str(tmp_path)])

    assert result.exit_code == 1
    assert "open.yaml: give verify" in result.output
    assert "signed" not in result.output


def test_the_forms_that_are_shipped_all_verify_their_sender() -> None:
    forms = str(PROJECT / "functions" / "forms")

    assert CliRunner().invoke(cli.bridge, ["doctor", "--forms", forms]).exit_code == 0
