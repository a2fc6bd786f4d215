"""The rows of a CSV file become requests: each once, however often the sending is begun again."""

import csv
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.operating.operations import Operations
from bridge.sending.bulk import Bulk, read_map
from bridge.simulators.kapture.account import KaptureSimulator
from tests.deployment import Deployment

MAP = """\
request:
  operation: add
  request_id: answers.order
  ticket: {title: answers.Title, requester: {email: answers."E-mail"}}
"""


class _Refusing:
    """SQS that does not take one message of each call, the first time; and one message never."""

    def __init__(self, sqs: Any, never: str) -> None:
        self._sqs, self._never = sqs, never
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sqs, name)

    def send_message_batch(self, QueueUrl: str, Entries: list[Any]) -> Any:  # noqa: N803  # as SQS names them
        self.calls += 1
        first = [entry["Id"] for entry in Entries[:1] if len(Entries) > 1]
        wrong = [entry["Id"] for entry in Entries if self._never in entry["MessageBody"]]
        taken = [entry for entry in Entries if entry["Id"] not in first + wrong]
        if taken:
            self._sqs.send_message_batch(QueueUrl=QueueUrl, Entries=taken)
        return {
            "Failed": [
                *({"Id": name, "Code": "InternalError", "SenderFault": False} for name in first),
                *({"Id": name, "Code": "InvalidMessageContents", "SenderFault": True} for name in wrong),
            ]
        }


def _bulk(operations: Operations, tmp_path: Path, *rows: str, header: str = "order;Title;E-mail") -> Bulk:
    (tmp_path / "parcels.yaml").write_text(MAP)
    file = tmp_path / "parcels.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return Bulk(operations, read_map(tmp_path / "parcels.yaml"), file, tmp_path / "result.csv")


def _result(tmp_path: Path) -> list[tuple[str, str]]:
    with (tmp_path / "result.csv").open(newline="") as file:
        return [(line["row"], line["state"]) for line in csv.DictReader(file)]


def test_rows_are_checked_and_doubles_are_said(operations: Operations, tmp_path: Path) -> None:
    rows = (
        "1;A;a@example.com",
        "2;;b@example.com",
        "3;B;",
        "3;B;",
        "3;C;",
        ";D;",
        ";D;",
        "4;E;nonsense",
        "5;F;;extra",
    )

    lines = [row.line for row in _bulk(operations, tmp_path, *rows).rows()]

    assert [line.state for line in lines] == [
        *("ready", "wrong", "ready", "double", "wrong", "ready", "double", "wrong", "wrong")
    ]
    assert [line.request_id for line in lines[:3]] == ["parcels:1", "parcels:2", "parcels:3"]
    assert lines[5].request_id == lines[6].request_id, "a row without a key is known by its content"
    assert lines[1].detail == "ticket.title is missing"
    assert lines[7].detail == "ticket.requester.email must be an e-mail address"


def test_sending_that_is_interrupted_and_begun_again_makes_each_ticket_once(
    deployment: Deployment, kapture: KaptureSimulator, operations: Operations, tmp_path: Path
) -> None:
    rows = [f"{number};Parcel {number};" for number in range(25)]
    refusing = _Refusing(deployment.sqs, never="Parcel 24")
    operations.target.__dict__["sqs"] = refusing

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _bulk(operations, tmp_path, *rows).send(interrupt)
    assert _result(tmp_path) == [(str(number), "sent") for number in range(1, 11)]
    # A run that was killed has left half a line.
    with (tmp_path / "result.csv").open("a") as file:
        file.write("11,parcels:10,se")
    counts = _bulk(operations, tmp_path, *rows).send(lambda _: None)
    again = _bulk(operations, tmp_path, *rows).send(lambda _: None)
    for _ in range(4):
        deployment.consume()

    assert counts == again == {"sent": 24, "refused": 1}
    assert _result(tmp_path) == [*((str(number), "sent") for number in range(1, 25)), ("25", "refused")]
    assert sorted(ticket.title for ticket in kapture.tickets) == sorted(f"Parcel {n}" for n in range(24))
    assert deployment.waiting() == 0


def test_a_row_that_has_changed_since_is_sent_again(operations: Operations, tmp_path: Path) -> None:
    _bulk(operations, tmp_path, "1;A;", "2;B;").send(lambda _: None)

    changed = _bulk(operations, tmp_path, "1;A;", "2;C;")

    assert [changed.was_sent(row.line) for row in changed.rows()] == [True, False]


def test_wrong_files_are_told(operations: Operations, tmp_path: Path) -> None:
    (tmp_path / "parcels.yaml").write_text(MAP.replace("title:", "titel:"))
    with pytest.raises(BridgeError, match=r"parcels\.yaml:4: request\.ticket\.titel"):
        read_map(tmp_path / "parcels.yaml")
    with pytest.raises(BridgeError, match="'order' stands twice"):
        list(_bulk(operations, tmp_path, "1;2", header="order;order").rows())
    (tmp_path / "result.csv").write_text("order;Title\n")
    with pytest.raises(BridgeError, match="is no result file"):
        _bulk(operations, tmp_path)
