"""The table as DynamoDB keeps it: conditions, an index that lags a little, refusals in the SDK's own form."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from tests.faults.checker.expressions import Item, NotSpokenError, Value, condition, update

_INDEX = "attention"
_KNOWN = {
    "get_item": {"TableName", "Key", "ConsistentRead"},
    "batch_get_item": {"RequestItems"},
    "put_item": {"TableName", "Item"},
    "update_item": {"TableName", "Key", "UpdateExpression", "ReturnValues"},
    "delete_item": {"TableName", "Key"},
    "query": {"TableName", "IndexName", "KeyConditionExpression", "Limit"},
    "transact_write_items": {"TransactItems"},
    "scan": {"TableName", "FilterExpression"},
}
_WRITES = {"put_item", "update_item", "delete_item"}
_EXPRESSIONS = {"ExpressionAttributeNames", "ExpressionAttributeValues"}
_CONDITION = {"ConditionExpression", "ReturnValuesOnConditionCheckFailure"}


class Table:
    """One table, with the calls of the SDK's client. `lag` says how many seconds the index is behind."""

    def __init__(self, clock: Callable[[], float], lag: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._lag = lag
        self.items: dict[str, Item] = {}
        # What the index still shows of an item that was written a moment ago, and until when.
        self._before: dict[str, tuple[float, Item | None]] = {}

    def get_item(self, **asked: Any) -> dict[str, Any]:
        """One item."""
        _check("get_item", asked)
        key = _key_in(asked["Key"])
        found = self.items.get(key) if asked.get("ConsistentRead") else self._shown(key)
        return {"Item": dict(found)} if found is not None else {}

    def batch_get_item(self, **asked: Any) -> dict[str, Any]:
        """Up to a hundred items."""
        _check("batch_get_item", asked)
        [(table, wanted)] = asked["RequestItems"].items()
        keys = [_key_in(key) for key in wanted["Keys"]]
        if (
            set(wanted) != {"Keys", "ConsistentRead"}
            or len(set(keys)) < len(keys)
            or not 0 < len(keys) <= 100
        ):
            raise NotSpokenError("batch_get_item as DynamoDB refuses it")
        shown = [self.items.get(key) if wanted["ConsistentRead"] else self._shown(key) for key in keys]
        return {
            "Responses": {table: [dict(item) for item in shown if item is not None]},
            "UnprocessedKeys": {},
        }

    def put_item(self, **asked: Any) -> dict[str, Any]:
        """An item in the place of another, or of none."""
        self._write(*self._planned("put_item", asked))
        return {}

    def update_item(self, **asked: Any) -> dict[str, Any]:
        """A changed item, or a new one."""
        key, new, old = self._planned("update_item", asked)
        self._write(key, new, old)
        returns = asked.get("ReturnValues", "NONE")
        if returns == "NONE":
            return {}
        if returns not in ("ALL_OLD", "ALL_NEW"):
            raise NotSpokenError(f"ReturnValues {returns}")
        shown = old if returns == "ALL_OLD" else new
        return {"Attributes": dict(shown)} if shown else {}

    def delete_item(self, **asked: Any) -> dict[str, Any]:
        """No item."""
        self._write(*self._planned("delete_item", asked))
        return {}

    def transact_write_items(self, **asked: Any) -> dict[str, Any]:
        """Several writes at once, or none."""
        _check("transact_write_items", asked)
        kinds = {"Put": "put_item", "Update": "update_item", "Delete": "delete_item"}
        planned: list[tuple[str, Item | None, Item | None]] = []
        reasons: list[dict[str, Any]] = []
        for entry in asked["TransactItems"]:
            [(kind, write)] = entry.items()
            if kind not in kinds:
                raise NotSpokenError(f"{kind} in a transaction")
            try:
                planned.append(self._planned(kinds[kind], write))
                reasons.append({"Code": "None"})
            except ClientError as error:
                reasons.append({"Code": "ConditionalCheckFailed", **error.response})
        if len(planned) < len(reasons):
            raise _refused("TransactionCanceledException", {"CancellationReasons": reasons})
        if len({key for key, _, _ in planned}) < len(planned) or len(planned) > 100:
            raise NotSpokenError("a transaction that DynamoDB refuses")
        for key, new, old in planned:
            self._write(key, new, old)
        return {}

    def query(self, **asked: Any) -> dict[str, Any]:
        """The items of the index under one name, by their numbers."""
        _check("query", asked)
        if asked.get("IndexName") != _INDEX:
            raise NotSpokenError("a query of something else than the index")
        names = asked.get("ExpressionAttributeNames", {})
        values = asked.get("ExpressionAttributeValues", {})
        holds, used = condition(asked["KeyConditionExpression"], names)
        _check_placeholders(used, names, values)
        shown = [item for key in [*self.items, *self._gone()] if (item := self._shown(key)) is not None]
        found = [item for item in shown if _INDEX in item and f"{_INDEX}_at" in item and holds(item, values)]
        found.sort(key=lambda item: Decimal(item[f"{_INDEX}_at"]["N"]))
        limit = asked.get("Limit", len(found))
        answer: dict[str, Any] = {"Items": [dict(item) for item in found[:limit]]}
        if len(found) > limit:
            answer["LastEvaluatedKey"] = {"pk": found[limit - 1]["pk"]}
        return answer

    def scan(self, **asked: Any) -> dict[str, Any]:
        """All items that the filter lets through, in one page."""
        _check("scan", asked)
        names = asked.get("ExpressionAttributeNames", {})
        values = asked.get("ExpressionAttributeValues", {})
        holds, used = condition(asked["FilterExpression"], names)
        _check_placeholders(used, names, values)
        return {"Items": [dict(item) for item in self.items.values() if holds(item, values)]}

    # ── how it is done ───────────────────────────────────────────────────────────────────────────────────

    def _planned(self, call: str, asked: Mapping[str, Any]) -> tuple[str, Item | None, Item | None]:
        """The key, the new item and the old one. Raises ClientError where the condition does not hold."""
        _check(call, asked)
        names = asked.get("ExpressionAttributeNames", {})
        values = asked.get("ExpressionAttributeValues", {})
        key = asked["Item"]["pk"]["S"] if call == "put_item" else _key_in(asked["Key"])
        old = self.items.get(key)
        used: frozenset[str] = frozenset()
        holds = True
        if "ConditionExpression" in asked:
            test, used = condition(asked["ConditionExpression"], names)
            holds = test(old or {}, values)
        new: Item | None = dict(asked["Item"]) if call == "put_item" else None
        if call == "update_item":
            new = {**(old or {}), "pk": {"S": key}}
            if "UpdateExpression" in asked:
                change, more = update(asked["UpdateExpression"], names)
                used |= more
                new = change(new, values) if holds else new
        _check_placeholders(used, names, values)
        if not holds:
            shown = asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old is not None
            raise _refused("ConditionalCheckFailedException", {"Item": dict(old or {})} if shown else {})
        return key, new, old

    def _write(self, key: str, new: Item | None, old: Item | None) -> None:
        until = self._clock() + self._lag()
        if until > self._clock():
            self._before[key] = (until, self._shown(key))
        if new is None:
            self.items.pop(key, None)
        else:
            self.items[key] = new

    def _shown(self, key: str) -> Item | None:
        until, before = self._before.get(key, (0.0, None))
        if self._clock() < until:
            return before
        self._before.pop(key, None)
        return self.items.get(key)

    def _gone(self) -> Iterator[str]:
        return iter([key for key in self._before if key not in self.items])


def _key_in(key: Mapping[str, Value]) -> str:
    if set(key) != {"pk"}:
        raise NotSpokenError(f"the key {sorted(key)}")
    text: str = key["pk"]["S"]
    return text


def _check(call: str, asked: Mapping[str, Any]) -> None:
    known = _KNOWN[call] | _EXPRESSIONS | (_CONDITION if call in _WRITES else set())
    if unknown := set(asked) - known:
        raise NotSpokenError(f"{call} with {sorted(unknown)}")


def _check_placeholders(used: frozenset[str], names: Mapping[str, str], values: Mapping[str, Value]) -> None:
    given = {*names, *values}
    if used != given:
        raise NotSpokenError(f"placeholders that are not used or not given: {sorted(used ^ given)}")


def _refused(code: str, more: Mapping[str, Any]) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "The conditional request failed"}, **more}
    return ClientError(response, "UpdateItem")
