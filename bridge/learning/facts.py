"""The file of what was learnt about an account: facts, what was sent and seen, the settings that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError

from bridge.errors import BridgeError
from bridge.files import wrong_fields
from helpdesk.models import HelpdeskName  # noqa: TC001  # pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

# Their values differ from run to run; only a large difference is a change.
_SECONDS = ("shown_after_s.",)
_TIMES = 3.0
_LEAST_S = 5.0
# They tell of one hour, not of the account's manners.
_PASSING = {"latency_ms.median", "latency_ms.worst", "rate.refusals"}


# The one setting of all helpdesks: how long a ticket may take to show.
_SHARED = "SettleAfterSeconds"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Evidence(_Part):
    """One call: the shapes of what was sent and seen, without any text of a ticket."""

    sent: str
    # None where no answer came.
    status: int | None
    seen: str
    # What our client makes of it: success, or the code of an error.
    read_as: str
    milliseconds: int


class Point(_Part):
    """How one question ended."""

    state: Literal["known", "unknown"]
    said: str
    evidence: tuple[Evidence, ...] = ()


class Proposal(_Part):
    """The value of a setting, and why it follows."""

    value: str
    why: str


class Learnt(_Part):
    """What one run has learnt. `facts` have fixed names, so two runs can be compared."""

    version: Literal[1] = 1
    helpdesk: HelpdeskName
    # Settings follow for stages whose helpdesk has this address, and for no other.
    address: str
    learnt_at: AwareDatetime
    calls: int
    # Test tickets that are still there.
    tickets: tuple[str, ...]
    facts: dict[str, JsonValue]
    settings: dict[str, Proposal]
    points: dict[str, Point]


def file_name(helpdesk: str) -> str:
    """How the file is called, beside bridge.toml."""
    return f"helpdesk.{helpdesk}.json"


def read(path: Path) -> Learnt:
    """What a file holds. Raises BridgeError."""
    try:
        return Learnt.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BridgeError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        lines = "\n".join(f"{path.name}: {problem}" for problem in wrong_fields(error))
        raise BridgeError(f"{lines}\nWrite it anew with: bridge learn") from error


def write(path: Path, learnt: Learnt) -> None:
    path.write_text(learnt.model_dump_json(indent=2) + "\n")


def changes(before: Learnt, after: Learnt) -> Iterator[str]:
    """What has changed between two runs, a line for each fact that both know."""
    for name, value in after.facts.items():
        if name not in before.facts or name in _PASSING:
            continue
        old = before.facts[name]
        if old != value and not _is_alike(name, old, value):
            yield f"{name}: {in_words(old)} -> {in_words(value)}"


def shown_after_s(learnt: Learnt) -> float:
    """After how long a get shows a new ticket; 0 where that is not known."""
    seconds = learnt.facts.get("shown_after_s.get")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def listed(value: JsonValue) -> list[JsonValue]:
    """A fact that is a list; empty for any other."""
    return value if isinstance(value, list) else []


def in_words(value: JsonValue) -> str:
    """A fact's value for people."""
    match value:
        case None:
            return "never"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(in_words, value)) or "none"
        case dict():
            return " ".join(in_words(inner) for inner in value.values())
    return str(value)


def settings_for(folder: Path, addresses: Mapping[str, str]) -> dict[str, tuple[str, Learnt]]:
    """The learnt value of each setting, with its origin; `addresses` says by helpdesk where a stage's is.

    What all helpdesks share is left out unless each of them was learnt.
    """
    files = ((folder / file_name(helpdesk), address) for helpdesk, address in addresses.items())
    known = ((read(path), address) for path, address in files if path.exists())
    learnt = [result for result, address in known if result.address == address.rstrip("/")]
    values = joined(learnt)
    if len(learnt) < len(addresses):
        values.pop(_SHARED, None)
    return values


def joined(learnt: Iterable[Learnt]) -> dict[str, tuple[str, Learnt]]:
    """The settings that follow from several helpdesks; of what they share, the longest time counts."""
    values: dict[str, tuple[str, Learnt]] = {}
    for result in learnt:
        for name, proposal in result.settings.items():
            if name == _SHARED and name in values and float(values[name][0]) >= float(proposal.value):
                continue
            values[name] = (proposal.value, result)
    return values


def _is_alike(name: str, old: JsonValue, new: JsonValue) -> bool:
    if not name.startswith(_SECONDS) or not (isinstance(old, int | float) and isinstance(new, int | float)):
        return False
    less, more = sorted((old, new))
    return more <= max(less * _TIMES, _LEAST_S)
