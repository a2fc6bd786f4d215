"""Sends the rows of a CSV file as requests: each once, however often it is begun again.

A map is a form file without `service` and `verify`; `answers.COLUMN` in it is a cell of the row. The id of
the request is the map's name and what its `request_id` names, else a digest of the row. A result file holds a
line for each row. What it calls sent is not sent again. What was sent before a run was killed, and is not
written down, is sent again: the ledger knows it by its id.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import time
from collections import Counter
from dataclasses import astuple, dataclass, replace
from itertools import batched
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.files import text_of
from bridge.generate import form_files
from helpdesk.errors import RejectedError
from helpdesk.http.forms.services import Submission
from helpdesk.intake.requests import Defaults, read_body
from helpdesk.models import queued
from helpdesk.store.ledger import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

    from bridge.operating.operations import Operations
    from helpdesk.http.forms.form_file import Form
    from helpdesk.models import Request

READY, SENT, DOUBLE, WRONG, REFUSED = "ready", "sent", "double", "wrong", "refused"
_TEN = 10
# SQS takes 1 MiB in one call, and takes it badly where a message has to be sent again.
_MOST_BYTES = 250_000
# What SQS did not take for a reason of its own is given to it again after these seconds.
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SNIFFED = 65_536
_FIELDS = ("row", "request_id", "state", "detail", "digest")


@dataclass(frozen=True)
class Line:
    """A line of the result file. The first row below the names of the columns is row 1."""

    row: int
    request_id: str
    state: str
    detail: str = ""
    # Tells whether a row has changed since it was sent.
    digest: str = ""


@dataclass(frozen=True)
class Row:
    """A row, and its request if it becomes one that is to be sent."""

    line: Line
    request: Request | None = None


def read_map(path: Path) -> Form:
    """The map in a file. Raises BridgeError naming file, line and field of all that is wrong."""
    text = text_of(path)
    needed = {"service": "json", "verify": "{scheme: none}", "source": f"csv/{path.stem}"}
    missing = [
        f"{key}: {value}"
        for key, value in needed.items()
        if not re.search(rf"^{key}\s*:", text, re.MULTILINE)
    ]
    # At the end, so the numbers of lines stay.
    return form_files.parse(path.stem, path.name, "\n".join([text, *missing, ""]))


class Bulk:
    """One CSV file with its map, its stack and its result file."""

    def __init__(self, operations: Operations, form: Form, file: Path, result_file: Path) -> None:
        self._operations = operations
        self._form = form
        self._file = file
        self._result_file = result_file
        self._results = {line.row: line for line in _lines_of(result_file)}
        self._sent_before = {
            (line.request_id, line.digest) for line in self._results.values() if line.state == SENT
        }

    def rows(self) -> Iterator[Row]:
        """Every row in its order, checked as the API checks a request. Raises BridgeError."""
        known: dict[str, Line] = {}
        for number, cells in enumerate(_cells_of(self._file), 1):
            row = self._row(number, cells)
            first = known.setdefault(row.line.request_id, row.line) if row.request else row.line
            if first.row == number:
                yield row
            elif first.digest == row.line.digest:
                yield Row(replace(row.line, state=DOUBLE, detail=f"the same request as row {first.row}"))
            else:
                why = f"has the id of row {first.row}, and other content"
                yield Row(replace(row.line, state=WRONG, detail=why))

    def send(self, progress: Callable[[int], None]) -> Counter[str]:
        """Sends what is ready and was not sent before; how many rows ended in which state.

        `progress` gets how many rows are done with. The result file is right after each ten rows.
        """
        counts: Counter[str] = Counter()
        self._write_result()
        try:
            with self._result_file.open("a", newline="") as result_file:
                writer = csv.writer(result_file)
                for rows in batched(self.rows(), _TEN, strict=False):
                    for line in self._send_ten(rows):
                        counts[line.state] += 1
                        self._results[line.row] = line
                        writer.writerow(astuple(line))
                    result_file.flush()
                    progress(len(rows))
        finally:
            self._write_result()
        return counts

    def was_sent(self, line: Line) -> bool:
        """Whether an earlier run has sent this row as it is."""
        return (line.request_id, line.digest) in self._sent_before

    def _row(self, number: int, cells: dict[str, str] | None) -> Row:
        if cells is None:
            return Row(Line(number, "", WRONG, "has more cells than there are columns"))
        row_id = hashlib.sha256(json.dumps(sorted(cells.items())).encode()).hexdigest()[:16]
        mapped = self._form.request_of(Submission(answers=dict(cells), id=row_id))
        defaults = Defaults(mapped.body["request_id"], self._form.source, self._operations.helpdesks[0])
        problems = [f"this expression fails: {expression}" for expression in mapped.failures]
        if mapped.is_unmapped:
            problems.append("the map names none of its columns")
        try:
            request = read_body(mapped.body, defaults)
            self._operations.rules.check(request)
        except RejectedError as error:
            problems += [f"{problem.field} {problem.problem}" for problem in error.problems]
        if problems:
            return Row(Line(number, defaults.request_id, WRONG, "; ".join(problems)))
        return Row(Line(number, request.request_id, READY, digest=fingerprint(request)[:16]), request)

    def _send_ten(self, rows: Sequence[Row]) -> list[Line]:
        lines = {row.line.row: row.line for row in rows}
        entries: list[SendMessageBatchRequestEntryTypeDef] = []
        for row in rows:
            if row.request is None:
                continue
            if self.was_sent(row.line):
                lines[row.line.row] = replace(row.line, state=SENT, detail="by an earlier run")
                continue
            body, group = queued(row.request), row.request.source
            entries.append({"Id": str(row.line.row), "MessageBody": body, "MessageGroupId": group})
        for some in _parts(entries):
            refused = _send(self._operations.target.sqs, self._operations.target.requests_queue_url, some)
            for entry in some:
                number = int(entry["Id"])
                why = refused.get(entry["Id"], "")
                lines[number] = replace(lines[number], state=REFUSED if why else SENT, detail=why)
        return list(lines.values())

    def _write_result(self) -> None:
        """Once, with one line for each row."""
        beside = self._result_file.with_name(f"{self._result_file.name}.new")
        with beside.open("w", newline="") as result_file:
            writer = csv.writer(result_file)
            writer.writerow(_FIELDS)
            writer.writerows(astuple(line) for _, line in sorted(self._results.items()))
        beside.replace(self._result_file)


def _send(
    sqs: SQSClient, queue_url: str, entries: Sequence[SendMessageBatchRequestEntryTypeDef]
) -> dict[str, str]:
    """Sends up to ten; why SQS has not taken one, by its id. Raises what botocore raises."""
    refused: dict[str, str] = {}
    left = {entry["Id"]: entry for entry in entries}
    for pause in (*_PAUSES_S, None):
        answer = sqs.send_message_batch(QueueUrl=queue_url, Entries=list(left.values()))
        failed = {failure["Id"]: failure for failure in answer.get("Failed", [])}
        refused |= {name: failure["Code"] for name, failure in failed.items() if failure["SenderFault"]}
        left = {name: left[name] for name, failure in failed.items() if not failure["SenderFault"]}
        if not left or pause is None:
            break
        time.sleep(pause)
    return refused | dict.fromkeys(left, "SQS did not take it")


def _parts(
    entries: Sequence[SendMessageBatchRequestEntryTypeDef],
) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    part: list[SendMessageBatchRequestEntryTypeDef] = []
    size = 0
    for entry in entries:
        weight = len(entry["MessageBody"].encode())
        if part and size + weight > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += weight
    if part:
        yield part


def _cells_of(path: Path) -> Iterator[dict[str, str] | None]:
    """The cells of each row by their columns; None for a row with more cells than there are columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            sample = file.read(_SNIFFED)
            file.seek(0)
            # A file of one column has no delimiter.
            first = sample.partition("\n")[0]
            reader = csv.DictReader(file, delimiter=max(",;\t|", key=first.count), strict=True)
            columns = reader.fieldnames or []
            if twice := [name for name, count in Counter(columns).items() if count > 1]:
                raise BridgeError(f"{path}: the column {twice[0]!r} stands twice")
            for cells in reader:
                yield None if None in cells else {name: value or "" for name, value in cells.items()}
    except OSError as error:
        raise BridgeError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BridgeError(f"{path} is not in UTF-8: save it as CSV UTF-8") from error
    except csv.Error as error:
        raise BridgeError(f"{path}: line {reader.line_num} is no CSV: {error}") from error


def _lines_of(path: Path) -> Iterator[Line]:
    """The lines of a result file, of which the last of a row counts."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        reader = csv.reader(file)
        if tuple(next(reader, _FIELDS)) != _FIELDS:
            raise BridgeError(f"{path} is no result file: name another one with --result")
        for cells in reader:
            # A run that was killed may have left half a line: its row counts as not sent.
            if len(cells) == len(_FIELDS) and cells[0].isdigit():
                yield Line(int(cells[0]), *cells[1:])
