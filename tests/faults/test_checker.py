"""A thousand seeded schedules of everything that can go wrong; each promise holds in each of them.

CHECKER_SCHEDULES=20000 runs more. CHECKER_SEED=family:seed runs one, and tells its story.
"""

import os
import random
import sys
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.deployment import LEDGER
from tests.faults.checker.dynamodb import Table
from tests.faults.checker.families import FAMILIES
from tests.faults.checker.promises import broken
from tests.faults.checker.world import World

_SCHEDULES = int(os.environ.get("CHECKER_SCHEDULES", "1000"))
_TOLD = os.environ.get("CHECKER_SEED", "")
# Parts of a family, for as many processes.
_PARTS = 4


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")


def _story(world: World) -> str:
    return "\n".join(f"{at - world.began_at:12.3f} {line}" for at, line in world.mishaps.story)


def _parts() -> list[Any]:
    if _TOLD:
        family, _, seed = _TOLD.partition(":")
        return [pytest.param(family, range(int(seed), int(seed) + 1), id=_TOLD)]
    parts = []
    shares = sum(share for _, share in FAMILIES.values())
    for family, (_, share) in FAMILIES.items():
        most = max(_SCHEDULES * share // shares, 1)
        parts += [
            pytest.param(family, range(part, most, _PARTS), id=f"{family}-{part + 1}")
            for part in range(min(_PARTS, most))
        ]
    return parts


@pytest.mark.parametrize(("family", "seeds"), _parts())
@pytest.mark.timeout(3600)
def test_every_promise_holds_in_every_schedule(
    family: str, seeds: range, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in seeds:
        try:
            world = FAMILIES[family][0](str(seed))
        except BaseException as error:
            error.add_note(f"CHECKER_SEED={family}:{seed}")
            raise
        wrong = broken(world)
        if _TOLD:
            with capsys.disabled():
                sys.stdout.write(f"\n{_story(world)}\n")
        assert not wrong, f"CHECKER_SEED={family}:{seed}\n{_story(world)}\n" + "\n".join(wrong)


def test_a_seed_tells_the_same_story_each_time() -> None:
    first, second = (FAMILIES["basic"][0]("11") for _ in range(2))

    assert _story(first) == _story(second)
    assert len(first.mishaps.story) > 20


# ── the table is DynamoDB's ──────────────────────────────────────────────────────────────────────────────


_CALLS = (
    "get_item",
    "batch_get_item",
    "put_item",
    "update_item",
    "delete_item",
    "query",
    "transact_write_items",
)


def _answer(call: Callable[..., Any], asked: dict[str, Any]) -> Any:
    """What came back, as far as the layer reads it."""
    try:
        answer = call(**asked)
    except ClientError as error:
        return error.response["Error"]["Code"], _plain(error.response.get("Item"))
    return {key: _plain(answer[key]) for key in ("Item", "Items", "Attributes", "Responses") if key in answer}


def _plain(value: Any) -> Any:
    """Equal for equal items: sets have no order, and numbers many spellings."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"N"}:
        return float(value["N"])
    return {key: sorted(inner) if key == "SS" else _plain(inner) for key, inner in value.items()}


@pytest.fixture
def dynamodb() -> Any:
    with mock_aws():
        client = boto3.client("dynamodb")
        client.create_table(**LEDGER)
        yield client


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_answers_a_schedules_calls_as_moto_does(
    family: str, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, dict[str, Any]]] = []
    for name in _CALLS:
        monkeypatch.setattr(Table, name, _noting(name, getattr(Table, name), made))
    FAMILIES[family][0]("3")
    monkeypatch.undo()
    table = Table(lambda: 0.0)

    for name, asked in made[:400]:
        assert _answer(getattr(table, name), asked) == _answer(getattr(dynamodb, name), asked), (name, asked)


def _noting(
    name: str, call: Callable[..., Any], made: list[tuple[str, dict[str, Any]]]
) -> Callable[..., Any]:
    def noted(table: Table, **asked: Any) -> Any:
        made.append((name, asked))
        return call(table, **asked)

    return noted


def test_the_table_takes_any_condition_and_change_as_moto_does(dynamodb: Any) -> None:
    chance = random.Random(1)
    table = Table(lambda: 0.0)

    for _ in range(400):
        asked = _any_update(chance)
        assert _answer(table.update_item, asked) == _answer(dynamodb.update_item, asked), asked


def _any_update(chance: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {":n": {"N": str(chance.randint(0, 3))}, ":s": {"S": chance.choice("ab")}}
    value = chance.choice(list(values))
    attribute = "a" if value == ":n" else "b"
    # Moto breaks where two kinds are compared.
    simple = [f"{name} {sign} {value}" for sign in ("=", "<", "<=", ">", ">=") for name in (attribute, "c")]
    simple += [f"{attribute} IN ({value}, {value})", "attribute_exists(a)", "attribute_not_exists(b)"]
    condition = " AND ".join(chance.sample(simple, 2)) + " OR (NOT " + chance.choice(simple) + ")"
    change = chance.choice(
        (
            f"SET {attribute} = {value}",
            f"SET {attribute} = if_not_exists({attribute}, {value}), d = {value} REMOVE c",
            f"SET d = {value} REMOVE {attribute}",
            "ADD e :n",
            "ADD f :f",
            "DELETE f :f",
            "SET l = list_append(if_not_exists(l, :l), :l)",
        )
    )
    expressions = condition + change
    used = {name: given for name, given in values.items() if name in expressions}
    used |= {":f": {"SS": [chance.choice("xyz")]}} if ":f" in change else {}
    used |= {":l": {"L": [{"S": "x"}]}} if ":l" in change else {}
    return {
        "TableName": "ledger",
        "Key": {"pk": {"S": chance.choice("pq")}},
        "UpdateExpression": change,
        "ConditionExpression": condition,
        "ExpressionAttributeValues": used,
        "ReturnValues": "ALL_OLD",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
