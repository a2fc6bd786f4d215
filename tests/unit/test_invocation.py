"""The frame of a handler: when it makes the function's part, and how often."""

from typing import Any

from helpdesk.runtime.invocation import Entry
from tests.deployment import Context


def _run(part: str | None, event: dict[str, Any], _context: object) -> dict[str, Any]:
    return {"part": part, **event}


def test_a_part_is_made_at_the_first_invocation_and_kept_also_where_it_is_none() -> None:
    made: list[str] = []
    handler: Entry[str, None] = Entry(lambda: "parts", made.append, _run)
    assert made == []

    assert [handler({"number": number}, Context()) for number in range(2)] == [
        {"part": None, "number": 0},
        {"part": None, "number": 1},
    ]
    assert made == ["parts"]


def test_other_parts_make_another_part() -> None:
    handler: Entry[str, str] = Entry(lambda: "usual", str.upper, _run)
    assert handler({}, Context()) == {"part": "USUAL"}

    handler.use("own")

    assert handler({}, Context()) == {"part": "OWN"}
