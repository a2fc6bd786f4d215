"""Shows what DynamoDB does with conditional writes in batches, beside the single writes that functions make.

It happens in a table of its own, which is deleted at the end. docs/decisions.md says what it must show.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mypy_boto3_dynamodb.client import DynamoDBClient

    from bridge.stacks.target import Target

# The most statements of one call, and what a batch of the queue holds.
TOGETHER = 25
ROUNDS = 15
# So few writes a second that the batches below must be throttled.
_LIMIT = 20
_THROTTLED_BATCHES = 100
_REFUSED = ("DuplicateItem", "ConditionalCheckFailed")


@dataclass
class Shown:
    """Medians of `ROUNDS` rounds of 25 writes, and what else was seen; `problems` speak against batches."""

    single_ms: float = 0.0
    batch_ms: float = 0.0
    single_cpu_ms: float = 0.0
    batch_cpu_ms: float = 0.0
    single_units: float = 0.0
    batch_units: float = 0.0
    # Statements of a batch that were throttled, by code, and whole calls that were.
    throttled: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def measure(target: Target) -> Shown:
    """Measures in the account of a stack. Raises BotoCoreError or ClientError."""
    # What is throttled is to be seen, and not repeated.
    config = Config(max_pool_connections=TOGETHER, retries={"total_max_attempts": 1})
    client = target.client("dynamodb", config=config)
    return measure_with(client, f"{target.name}-bench-{secrets.token_hex(4)}", ROUNDS)


def measure_with(client: DynamoDBClient, name: str, rounds: int) -> Shown:
    """Makes the table `name`, writes to it in both ways, and deletes it."""
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        client.get_waiter("table_exists").wait(TableName=name)
        shown = Shown()
        writes = _Writes(client, name)
        _compare(writes, shown, rounds)
        _refuse(writes, shown)
        client.update_table(TableName=name, OnDemandThroughput={"MaxWriteRequestUnits": _LIMIT})
        client.get_waiter("table_exists").wait(TableName=name)
        _throttle(writes, shown)
        return shown
    finally:
        client.delete_table(TableName=name)


class _Writes:
    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def single(self, key: str) -> float:
        response = self._client.put_item(
            TableName=self._table,
            Item={"pk": {"S": key}, "lease": {"S": "first"}},
            ConditionExpression="attribute_not_exists(pk)",
            ReturnConsumedCapacity="TOTAL",
        )
        return _units([response.get("ConsumedCapacity")])

    def insert(self, keys: Sequence[str]) -> tuple[list[str], float]:
        """The code of each statement's error, empty where it was applied; and the units of all."""
        text = f"INSERT INTO \"{self._table}\" VALUE {{'pk': ?, 'lease': ?}}"
        return self._batch(text, [(key, "first") for key in keys])

    def update(self, leases: Sequence[tuple[str, str]]) -> list[str]:
        """Sets the lease where it is the one that is given."""
        text = f'UPDATE "{self._table}" SET lease=? WHERE pk=? AND lease=?'  # noqa: S608  # our own table's name
        return self._batch(text, [("second", key, lease) for key, lease in leases])[0]

    def leases(self, keys: Sequence[str]) -> list[str | None]:
        answers = [
            self._client.get_item(TableName=self._table, Key={"pk": {"S": key}}, ConsistentRead=True)
            for key in keys
        ]
        return [answer["Item"]["lease"]["S"] if "Item" in answer else None for answer in answers]

    def _batch(self, text: str, values: Sequence[Sequence[str]]) -> tuple[list[str], float]:
        response = self._client.batch_execute_statement(
            Statements=[{"Statement": text, "Parameters": [{"S": value} for value in row]} for row in values],
            ReturnConsumedCapacity="TOTAL",
        )
        codes = [str(each.get("Error", {}).get("Code", "")) for each in response["Responses"]]
        return codes, _units(response.get("ConsumedCapacity", []))


def _units(consumed: Sequence[Any]) -> float:
    return float(sum(each["CapacityUnits"] for each in consumed if each))


def _compare(writes: _Writes, shown: Shown, rounds: int) -> None:
    """Both ways in turns, so that what else happens befalls both."""
    single: list[tuple[float, float, float]] = []
    batch: list[tuple[float, float, float]] = []
    with ThreadPoolExecutor(TOGETHER) as pool:
        for number in range(rounds + 1):
            singles, batches = _keys(f"single-{number}"), _keys(f"batch-{number}")
            single.append(_timed(lambda keys: sum(pool.map(writes.single, keys)), singles))
            batch.append(_timed(lambda keys: writes.insert(keys)[1], batches))
    # The first round opens the connections.
    medians = [[median(column) for column in zip(*rows[1:], strict=True)] for rows in (single, batch)]
    (shown.single_ms, shown.single_cpu_ms, shown.single_units) = medians[0]
    (shown.batch_ms, shown.batch_cpu_ms, shown.batch_units) = medians[1]


def _timed(write: Callable[[Sequence[str]], float], keys: Sequence[str]) -> tuple[float, float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    units = write(keys)
    return (time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000, units


def _refuse(writes: _Writes, shown: Shown) -> None:
    """A condition that does not hold must stop its own statement, and no other."""
    keys = _keys("refused")
    applied, _ = writes.insert(keys)
    shown.problems += [f"a first insert ended with {code}" for code in sorted(set(applied)) if code]
    again, _ = writes.insert(keys)
    if not all(code.startswith(_REFUSED) for code in again):
        shown.problems.append(f"a second insert of one key was not refused: {dict(Counter(again))}")
    wanted = ["first" if place % 2 else "another" for place in range(TOGETHER)]
    codes = writes.update(list(zip(keys, wanted, strict=True)))
    expected = ["second" if lease == "first" else "first" for lease in wanted]
    refused = [code.startswith(_REFUSED) for code in codes]
    if refused != [lease == "another" for lease in wanted] or writes.leases(keys) != expected:
        shown.problems.append(f"conditions were not judged one by one: {dict(Counter(codes))}")


def _throttle(writes: _Writes, shown: Shown) -> None:
    """A throttled statement must not be applied, and one without an error must be."""
    counted: Counter[str] = Counter()
    with ThreadPoolExecutor(8) as pool:
        batches = [_keys(f"throttled-{number}") for number in range(_THROTTLED_BATCHES)]
        results = list(pool.map(lambda keys: _codes_of(writes, keys), batches))
    for keys, codes in zip(batches, results, strict=True):
        counted.update(code for code in codes if code)
        for key, code, lease in zip(keys, codes, writes.leases(keys), strict=True):
            if bool(code) == bool(lease):
                shown.problems.append(f"{key}: {code or 'no error'}, and {'' if lease else 'not '}applied")
    shown.throttled = dict(counted)


def _codes_of(writes: _Writes, keys: Sequence[str]) -> list[str]:
    try:
        return writes.insert(keys)[0]
    except ClientError as error:
        return [f"whole call: {error.response['Error']['Code']}"] * len(keys)


def _keys(name: str) -> list[str]:
    return [f"{name}-{number}" for number in range(TOGETHER)]


def lines(shown: Shown) -> Iterator[str]:
    """What was seen, for people."""
    yield f"25 conditional writes, medians of {ROUNDS} rounds in turns:"
    for name, single, batch, unit in (
        ("time", shown.single_ms, shown.batch_ms, "ms"),
        ("processor", shown.single_cpu_ms, shown.batch_cpu_ms, "ms"),
        ("write units", shown.single_units, shown.batch_units, ""),
    ):
        ratio = f" ({batch / single:.2f})" if single else ""
        yield f"  {name:12} single {single:8.1f} {unit:3} batch {batch:8.1f} {unit}{ratio}".rstrip()
    if shown.throttled:
        yield f"  throttled: {', '.join(f'{count} {code}' for code, count in shown.throttled.items())}"
    else:
        yield "  nothing was throttled, so this run does not show what throttling does"
    yield from (f"  AGAINST BATCHES: {problem}" for problem in shown.problems[:10])
    if not shown.problems:
        yield "  each statement was judged by its own condition, and told truthfully"
