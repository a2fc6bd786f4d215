"""What `bridge smoke --bench` says of a DynamoDB that keeps to its word, and of one that does not."""

import threading
from typing import Any

import pytest

from bridge.checks.batched_writes import TOGETHER, lines, measure_with

UNIT = {"CapacityUnits": 1.0}


class Dynamo:
    """One table. It throttles each fifth statement once a limit is set; `lies` says what it does wrong."""

    def __init__(self, lies: str = "") -> None:
        self._lies = lies
        self._lock = threading.Lock()
        self._statements = 0
        self.tables: dict[str, dict[str, str]] = {}
        self.limited = False

    def create_table(self, **described: Any) -> None:
        self.tables[described["TableName"]] = {}

    def delete_table(self, **described: Any) -> None:
        del self.tables[described["TableName"]]

    def update_table(self, **_: Any) -> None:
        self.limited = True

    def get_waiter(self, _name: str) -> Any:
        return type("Waiter", (), {"wait": lambda *_, **__: None})()

    def put_item(self, **request: Any) -> dict[str, Any]:
        (items,) = self.tables.values()
        items[request["Item"]["pk"]["S"]] = request["Item"]["lease"]["S"]
        return {"ConsumedCapacity": UNIT}

    def get_item(self, **request: Any) -> dict[str, Any]:
        (items,) = self.tables.values()
        lease = items.get(request["Key"]["pk"]["S"])
        return {"Item": {"lease": {"S": lease}}} if lease else {}

    def batch_execute_statement(self, **request: Any) -> dict[str, Any]:
        assert len(request["Statements"]) == TOGETHER
        with self._lock:
            codes = [self._execute(each) for each in request["Statements"]]
        responses = [{"Error": {"Code": code}} if code else {} for code in codes]
        return {"Responses": responses, "ConsumedCapacity": [UNIT] * TOGETHER}

    def _execute(self, statement: dict[str, Any]) -> str:
        (items,) = self.tables.values()
        values = [value["S"] for value in statement["Parameters"]]
        self._statements += 1
        if self.limited and self._statements % 5 == 0:
            if self._lies == "throttled and applied":
                items[values[0]] = values[1]
            return "ThrottlingError"
        if statement["Statement"].startswith("INSERT"):
            if values[0] in items:
                return "DuplicateItem"
            if not (self.limited and self._lies == "told and not applied"):
                items[values[0]] = values[1]
            return ""
        lease, key, expected = values
        if items[key] != expected and self._lies != "no condition":
            return "ConditionalCheckFailed"
        items[key] = lease
        return ""


def test_a_database_that_keeps_to_its_word_speaks_for_batches_and_no_table_stays() -> None:
    dynamo: Any = Dynamo()

    shown = measure_with(dynamo, "bench", rounds=1)

    assert (shown.problems, shown.throttled) == ([], {"ThrottlingError": 500})
    assert (shown.single_units, shown.batch_units) == (25, 25)
    assert "each statement was judged by its own condition" in "\n".join(lines(shown))
    assert dynamo.tables == {}


@pytest.mark.parametrize("lie", ["throttled and applied", "told and not applied", "no condition"])
def test_a_database_that_does_not_speaks_against_them(lie: str) -> None:
    dynamo: Any = Dynamo(lie)

    shown = measure_with(dynamo, "bench", rounds=1)

    assert shown.problems
    assert "AGAINST BATCHES" in "\n".join(lines(shown))
