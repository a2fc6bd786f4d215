"""The table with plain values. Only this module makes DynamoDB's requests and knows what its SDK raises.

A str is stored as S, a number as N, a bool as BOOL, a set as SS and a list as L. Numbers are read as floats.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import lru_cache
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

type Value = str | float | bool | Set[str] | Sequence[str]
type Values = Mapping[str, Value]
# An item that does not exist is empty.
type Item = Mapping[str, Any]

_INDEX = "attention"
_REFUSED = {"ConditionalCheckFailedException", "TransactionCanceledException"}
# DynamoDB gives a hundred items in one call.
_MOST_READ_AT_ONCE = 100


class ConditionError(UnavailableError):
    """The condition of a write did not hold; `item` is the standing item."""

    def __init__(self, item: Item) -> None:
        super().__init__("ledger_moved_on", "the item has moved on in the meantime")
        self.item = item


class Table:
    """One table. Raises UnavailableError if DynamoDB does not answer, ConditionError if a condition fails.

    `expected` holds attributes and the values that they must have; None means that the attribute must be
    absent. `condition` is an expression for what `expected` cannot say: `:name` stands for one of `values`,
    and `#name` for an attribute. An update takes one of the two.
    """

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    def get(self, key: str) -> Item:
        """The item, read consistently."""
        response = self._call(
            self._client.get_item, TableName=self._name, Key=_encode({"pk": key}), ConsistentRead=True
        )
        return _decode(response.get("Item", {}))

    def get_many(self, keys: Sequence[str]) -> dict[str, Item]:
        """The items that exist, by their keys; read consistently."""
        items: dict[str, Item] = {}
        for some in batched(dict.fromkeys(keys), _MOST_READ_AT_ONCE, strict=False):
            request = {"Keys": [_encode({"pk": key}) for key in some], "ConsistentRead": True}
            response = self._call(self._client.batch_get_item, RequestItems={self._name: request})
            if response.get("UnprocessedKeys"):
                raise UnavailableError("ledger_unavailable", "the ledger has answered in part")
            items |= {item["pk"]: item for item in map(_decode, response["Responses"][self._name])}
        return items

    def query(self, condition: str, values: Values, limit: int) -> list[Item]:
        """The first items of the index `attention` that meet the condition."""
        response = self._call(
            self._client.query,
            TableName=self._name,
            IndexName=_INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=_encode(values, ":"),
            Limit=limit,
        )
        return [_decode(item) for item in response["Items"]]

    def scan(self, condition: str, values: Values) -> Iterator[Item]:
        """All items that meet the condition, in no order. Reads the whole table."""
        request: dict[str, Any] = {
            "TableName": self._name,
            "FilterExpression": condition,
            "ExpressionAttributeValues": _encode(values, ":"),
        }
        if names := _names(condition):
            request["ExpressionAttributeNames"] = names
        while True:
            response = self._call(self._client.scan, **request)
            yield from map(_decode, response["Items"])
            if "LastEvaluatedKey" not in response:
                return
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]

    def put(self, item: Values, *, expected: Mapping[str, Value | None] = {}) -> None:
        """Writes a whole item."""
        self._write("Put", {"Item": _encode(item)}, expected=expected)

    def delete(self, key: str, *, expected: Mapping[str, Value | None] = {}) -> None:
        """Deletes an item."""
        self._write("Delete", {"Key": _encode({"pk": key})}, expected=expected)

    def update(
        self,
        key: str,
        *,
        sets: Mapping[str, Value] = {},
        keeps: Mapping[str, Value] = {},
        appends: Mapping[str, Sequence[str]] = {},
        removes: Sequence[str] = (),
        adds: Mapping[str, float | Set[str]] = {},
        deletes: Mapping[str, Set[str]] = {},
        expected: Mapping[str, Value | None] = {},
        condition: str = "",
        values: Mapping[str, Value] = {},
        returns_old: bool = False,
    ) -> Item:
        """Updates an item, or creates it. `returns_old` asks for the item as it was before.

        `keeps` are set only where they are absent. `appends` extend lists; `adds` go to numbers and sets.
        """
        names = (tuple(sets), tuple(keeps), tuple(appends), tuple(removes), tuple(adds), tuple(deletes))
        new: dict[str, Value] = {**sets, **keeps, **appends, **adds, **deletes}
        request: dict[str, Any] = {
            "Key": _encode({"pk": key}),
            "UpdateExpression": _update_expression(*names),
        }
        if appends:
            values = {**values, "none": []}
        if returns_old:
            request["ReturnValues"] = "ALL_OLD"
        encoded = {**_encode(values, ":"), **_encode(new, ":set_")}
        response = self._write("Update", request, encoded, condition, expected)
        return _decode(response.get("Attributes", {}))

    @contextmanager
    def transaction(self) -> Iterator["Table"]:
        """Makes the writes of the block at its end: all of them, or none."""
        together = _Transaction(self._client, self._name)
        yield together
        self._call(self._client.transact_write_items, TransactItems=together.writes)

    def _write(
        self,
        kind: str,
        request: dict[str, Any],
        values: Mapping[str, Any] = {},
        condition: str = "",
        expected: Mapping[str, Value | None] = {},
    ) -> Any:
        if expected:
            condition = _condition(tuple((name, value is None) for name, value in expected.items()))
            present = {name: value for name, value in expected.items() if value is not None}
            values = {**values, **_encode(present, ":seen_")}
        expressions = {
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(f"{request.get('UpdateExpression')} {condition}"),
            "ExpressionAttributeValues": values,
        }
        request |= {name: part for name, part in expressions.items() if part}
        return self._send(kind, {"TableName": self._name, **request})

    def _send(self, kind: str, request: dict[str, Any]) -> Any:
        if "ConditionExpression" in request:
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        # Named in full: a test compares the names with the layer's SDK.
        match kind:
            case "Put":
                return self._call(self._client.put_item, **request)
            case "Delete":
                return self._call(self._client.delete_item, **request)
        return self._call(self._client.update_item, **request)

    @staticmethod
    def _call(call: Callable[..., Any], **request: Any) -> Any:
        try:
            return call(**request)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _REFUSED:
                standing: Any = error.response.get("Item", {})
                raise ConditionError(_decode(standing)) from error
            raise UnavailableError("ledger_unavailable", f"the ledger did not answer: {code}") from error
        except BotoCoreError as error:
            raise UnavailableError("ledger_unavailable", "the ledger did not answer") from error


class _Transaction(Table):
    """Collects the writes of a transaction."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        super().__init__(client, name)
        self.writes: list[Any] = []

    def _send(self, kind: str, request: dict[str, Any]) -> Any:
        self.writes.append({kind: request})
        return {}


def _encode(values: Values, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{name}": _attribute(value) for name, value in values.items()}


def _attribute(value: Value) -> dict[str, Any]:
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int | float):
        return {"N": repr(value)}
    if isinstance(value, Set):
        return {"SS": list(value)}
    return {"L": [_attribute(each) for each in value]}


def _decode(item: Mapping[str, Any]) -> Item:
    return {name: _plain(attribute) for name, attribute in item.items()}


def _plain(attribute: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    if kind == "N":
        return float(value)
    if kind == "SS":
        return frozenset(value)
    if kind == "L":
        return [_plain(each) for each in value]
    return value


# There are few different expressions, and each is used again and again.
@lru_cache
def _update_expression(*names: tuple[str, ...]) -> str:
    sets, keeps, appends, removes, adds, deletes = names
    assignments = [
        *(f"#{name} = :set_{name}" for name in sets),
        *(f"#{name} = if_not_exists(#{name}, :set_{name})" for name in keeps),
        *(f"#{name} = list_append(if_not_exists(#{name}, :none), :set_{name})" for name in appends),
    ]
    clauses = {
        "SET": assignments,
        "REMOVE": [f"#{name}" for name in removes],
        "ADD": [f"#{name} :set_{name}" for name in adds],
        "DELETE": [f"#{name} :set_{name}" for name in deletes],
    }
    return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)


@lru_cache
def _condition(attributes: tuple[tuple[str, bool], ...]) -> str:
    return " AND ".join(
        f"attribute_not_exists(#{name})" if is_absent else f"#{name} = :seen_{name}"
        for name, is_absent in attributes
    )


@lru_cache
def _names(expressions: str) -> dict[str, str]:
    return {name: name[1:] for name in re.findall(r"#\w+", expressions)}
