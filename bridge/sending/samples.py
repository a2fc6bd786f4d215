"""Sample files: what is sent through which trigger, and which outcome is expected.

A file `<trigger>_<operation>[_<case>].json` holds an object with `description`, `send` and `expect`. What
`send` holds depends on the trigger. `{ticket_id:NAME}` and `{request_id:NAME}` stand for what the sample of
that name got.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bridge.errors import BridgeError
from bridge.files import text_of, wrong_fields
from helpdesk.clients.markers import last_marker, without_markers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

type Json = dict[str, Any] | list[Any] | str | int | float | bool | None

_PLACEHOLDER = re.compile(r"\{(?P<key>ticket_id|request_id):(?P<sample>\w+)\}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueueSend(_Part):
    """A message to the requests queue; a body that is no string is sent as JSON."""

    trigger: Literal["queue"]
    body: Json
    group: str | None = None
    attributes: dict[str, str] = Field(default_factory=dict)


class ApiSend(_Part):
    """A call of the API; a body that is no string is sent as JSON."""

    trigger: Literal["api"]
    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
    path: Annotated[str, Field(pattern="^/")]
    headers: dict[str, str] = Field(default_factory=dict)
    body: Json = None


class BusSend(_Part):
    """An event on the event bus of the stack."""

    trigger: Literal["bus"]
    detail_type: Annotated[str, Field(alias="detail-type")]
    source: str
    detail: dict[str, Any]


class ScheduleSend(_Part):
    """The input of a one-time schedule whose target is the requests queue."""

    trigger: Literal["schedule"]
    input: dict[str, Any]


class TopicSend(_Part):
    """A message to an SNS topic to which the requests queue is subscribed."""

    trigger: Literal["topic"]
    message: Json


class FormSend(_Part):
    """A submission of a form, signed as its service does it; a body that is no string is sent as JSON."""

    trigger: Literal["form"]
    form: str
    body: Json
    content_type: str = "application/json"
    # Added last: a wrong signature here takes the place of the true one.
    headers: dict[str, str] = Field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


class CallbackSend(_Part):
    """A helpdesk's callback, with the secret that it shares with us where that helpdesk puts it.

    With a `challenge` it is the check of our address instead, which has no body.
    """

    trigger: Literal["callback"]
    helpdesk: str
    body: Json = None
    challenge: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)


type Send = QueueSend | ApiSend | BusSend | ScheduleSend | TopicSend | FormSend | CallbackSend

TRIGGERS = ("queue", "api", "bus", "schedule", "topic", "form", "callback")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, (dict, int)) else value


class Sample(_Part):
    """One sample. Each object in `expect` is one outcome; `status` in it is that of the API's answer."""

    name: str
    description: str = ""
    send: Annotated[Send, Field(discriminator="trigger")]
    expect: Annotated[list[dict[str, Any]], BeforeValidator(_as_list)] = Field(default_factory=list)
    # The request that a form's submission becomes.
    becomes: dict[str, Any] | None = None

    @property
    def statuses(self) -> list[int]:
        """The HTTP statuses of which one is expected; empty where none is named."""
        named = [_as_list(expected["status"]) for expected in self.expect if "status" in expected]
        return [status for statuses in named if isinstance(statuses, list) for status in statuses]

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        outcomes = [{k: v for k, v in expected.items() if k != "status"} for expected in self.expect]
        return [outcome for outcome in outcomes if outcome]

    @property
    def needs(self) -> set[str]:
        """The names of the samples whose results this one holds."""
        names: set[str] = set()

        def note(match: re.Match[str]) -> str:
            names.add(match["sample"])
            return match[0]

        _replaced(self.model_dump(by_alias=True), note)
        return names

    def filled(self, results: Mapping[str, Mapping[str, str]]) -> Sample:
        """This sample with the results of others in place; `results` holds them by sample and by key.

        Raises BridgeError naming the result that is missing.
        """

        def result(match: re.Match[str]) -> str:
            try:
                return results[match["sample"]][match["key"]]
            except KeyError:
                raise BridgeError(
                    f"{self.name} needs the {match['key']} of {match['sample']}, which is not known"
                ) from None

        return Sample.model_validate(_replaced(self.model_dump(by_alias=True), result))


def read(path: Path) -> Sample:
    """Read one file. A file without `send` is taken as the body of a queue message.

    Raises BridgeError that names every wrong field.
    """
    try:
        content = json.loads(text_of(path))
    except ValueError as error:
        raise BridgeError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or "send" not in content:
        content = {"send": {"trigger": "queue", "body": content}}
    elif isinstance(content["send"], dict):
        trigger = path.stem.partition("_")[0]
        content["send"] = {**({"trigger": trigger} if trigger in TRIGGERS else {}), **content["send"]}
    try:
        return Sample.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        problems = "\n".join(f"  {problem}" for problem in wrong_fields(error))
        raise BridgeError(
            f"{path} is not a sample. Its name begins with one of {', '.join(TRIGGERS)}, or `send` names the"
            f" `trigger`:\n{problems}"
        ) from error


def read_all(*folders: Path) -> list[Sample]:
    """Every sample of the folders, each after those that it needs.

    Raises BridgeError where one needs a sample that is not there, or where they need each other.
    """
    places = " and ".join(map(str, folders))
    left = {path.stem: read(path) for folder in folders for path in sorted(folder.glob("*.json"))}
    if not left:
        raise BridgeError(f"There is no sample in {places}")
    ordered: list[Sample] = []
    while left:
        ready = [sample for sample in left.values() if not sample.needs & left.keys()]
        missing = {need for sample in ready for need in sample.needs} - {s.name for s in ordered}
        if missing or not ready:
            names = ", ".join(sorted(missing or left))
            raise BridgeError(f"In {places}, samples that are missing or need each other: {names}")
        ordered += ready
        left = {name: sample for name, sample in left.items() if sample not in ready}
    return ordered


def mismatches(expected: Mapping[str, Any], event: Mapping[str, Any]) -> list[str]:
    """How an outcome event differs from what is expected; empty when it does not."""
    content = {**event.get("data", {}), "type": event.get("type")}
    return list(_differences("", dict(expected), content))


def _differences(where: str, expected: Any, actual: Any) -> Iterable[str]:
    """Objects may hold more than is expected; lists are as long as expected, in any order."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            yield from _differences(f"{where}.{key}" if where else key, value, actual.get(key))
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for element in expected:
            if all(any(_differences(where, element, candidate)) for candidate in actual):
                yield f"{where} has no {element}, but {actual}"
    elif expected != (_unmarked(actual) if isinstance(actual, str) else actual):
        yield f"{where} is {actual!r}, not {expected!r}"


def _unmarked(text: str) -> str:
    """The text without the marker that ends it, where an account shows it in the title only."""
    return without_markers(text).rstrip() if last_marker(text) else text


def _replaced(value: Any, replacement: Callable[[re.Match[str]], str]) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(replacement, value)
    if isinstance(value, list):
        return [_replaced(element, replacement) for element in value]
    if isinstance(value, dict):
        return {key: _replaced(element, replacement) for key, element in value.items()}
    return value
