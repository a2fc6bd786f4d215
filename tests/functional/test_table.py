"""Plain values go into the table and come out of it, in the forms that every version has written."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws
from mypy_boto3_dynamodb.client import DynamoDBClient

from helpdesk.store.table import ConditionError, Table
from tests.deployment import LEDGER


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-west-1")
        client.create_table(**LEDGER)
        yield client


@pytest.fixture
def table(client: DynamoDBClient) -> Table:
    return Table(client, "ledger")


def test_each_plain_value_has_its_form_on_disk(client: DynamoDBClient, table: Table) -> None:
    table.put({"pk": "x", "at": 1764342000.25, "count": 5, "yes": True, "steps": {"a"}, "list": ["b"]})

    [item] = client.scan(TableName="ledger")["Items"]
    assert item == {
        "pk": {"S": "x"},
        "at": {"N": "1764342000.25"},
        "count": {"N": "5"},
        "yes": {"BOOL": True},
        "steps": {"SS": ["a"]},
        "list": {"L": [{"S": "b"}]},
    }
    read = table.get("x")
    assert read == {"pk": "x", "at": 1764342000.25, "count": 5, "yes": True, "steps": {"a"}, "list": ["b"]}


def test_a_refused_write_shows_the_item_that_stands_there(table: Table) -> None:
    table.update("x", sets={"state": "new"}, appends={"history": ["a"]}, expected={"pk": None})

    with pytest.raises(ConditionError) as refusal:
        table.update("x", sets={"state": "newer"}, expected={"state": "old"})

    assert refusal.value.item == {"pk": "x", "state": "new", "history": ["a"]}


def test_more_items_than_one_call_gives_are_all_read(table: Table) -> None:
    keys = [f"x{number}" for number in range(120)]
    for key in keys:
        # DynamoDB gives one megabyte in one call.
        table.put({"pk": key, "text": "x" * 20_000})

    assert table.get_many([*keys, "x0", "absent"]).keys() == set(keys)
    assert {item["pk"] for item in table.scan("begins_with(pk, :all)", {"all": "x"})} == set(keys)
