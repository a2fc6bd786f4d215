"""A caller's address is personal data: it stands in the lines of refusals, and nowhere else."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import CALLER, Deployment
from tests.functional.conftest import TOKEN

SECRET = "a-secret-of-these-tests"
FORM = """\
service: json
verify: {scheme: tally}
request:
  operation: add
  request_id: answers.id
  ticket: {title: answers.title}
"""
SUBMISSION = {"id": "f-1", "title": "Help"}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, kapture_url: str, tmp_path: Path) -> Iterator[Deployment]:
    (tmp_path / "plain.yaml").write_text(FORM)
    with mock_aws():
        deployed = Deployment(monkeypatch, kapture_url, TOKEN)
        deployed.put_callback_secret("kapture", SECRET)
        deployed.deploy_forms(tmp_path, tmp_path / "forms.json")
        deployed.put_form_secret("plain", SECRET)
        yield deployed


def test_who_is_refused_at_the_public_edge_can_be_found(deployment: Deployment, log: io.StringIO) -> None:
    assert deployment.form("plain", SUBMISSION, secret="another").status == 401
    assert deployment.callback("kapture", {"ticket_id": "1"}, path_secret="another").status == 401

    refusals = [line for line in log.getvalue().splitlines() if " refused" in line]
    assert len(refusals) == 2
    assert all(f'"caller":"{CALLER}"' in line for line in refusals)


def test_of_who_is_let_in_no_address_is_kept(
    deployment: Deployment, kapture: KaptureSimulator, log: io.StringIO
) -> None:
    assert deployment.form("plain", SUBMISSION, secret=SECRET).status == 202
    assert (
        deployment.call("POST", "/tickets", {"request_id": "a-1", "ticket": {"title": "Help"}}).status == 202
    )
    deployment.consume()
    body = {"ticket_id": kapture.tickets[0].ticket_id}
    assert deployment.callback("kapture", body, path_secret=SECRET).status == 200

    assert CALLER not in log.getvalue()
    assert CALLER not in str(deployment.dynamodb.scan(TableName="ledger")["Items"])
    assert CALLER not in str(deployment.outcomes())
