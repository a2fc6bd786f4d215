"""The table as every part sees it: what the SDK raises is told as one of two errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from helpdesk.errors import UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

type Item = Mapping[str, "AttributeValueTypeDef"]

_REFUSED = {"ConditionalCheckFailedException", "TransactionCanceledException"}


class ConditionError(UnavailableError):
    """A write whose condition did not hold; `item` is what stands there, where the write asked for it."""

    def __init__(self, item: Item) -> None:
        super().__init__("ledger_moved_on", "the item has moved on in the meantime")
        self.item = item


@contextmanager
def table_asked() -> Iterator[None]:
    """Raises UnavailableError where DynamoDB does not answer, and ConditionError where it refuses a write."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _REFUSED:
            found: Any = error.response.get("Item", {})
            raise ConditionError(found) from error
        raise UnavailableError("ledger_unavailable", f"the ledger did not answer: {code}") from error
    except BotoCoreError as error:
        raise UnavailableError("ledger_unavailable", "the ledger did not answer") from error
