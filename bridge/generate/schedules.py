"""Recurring requests: reads schedules/*.yaml, writes them into the template's text, says when they come."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import yaml  # type: ignore[import-untyped]  # it has no types
from aws_croniter import AwsCroniter  # type: ignore[import-untyped]  # as above
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
)

from bridge.errors import BridgeError
from bridge.files import text_of, wrong_fields
from helpdesk.clients.settings import Zone  # noqa: TC001 - pydantic reads it when the class is made
from helpdesk.errors import RejectedError
from helpdesk.intake.requests import Defaults, read_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PLACEHOLDER = "{scheduled_time}"
# What EventBridge Scheduler itself replaces, in UTC.
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
# Scheduler leaves a tick out that falls into the hour which a clock change skips: at most so many in a row.
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
_SKIPPED = 120
_A_TICK = "2026-01-05T09:00:00Z"

_BEGIN = "  # ── recurring requests: `bridge deploy` writes those of the user's folder here ───────────────\n"
_END = "  # ── end of the recurring requests ────────────────────────────────────────────────────────────\n"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_RATE = re.compile(r"rate\((?P<value>[1-9]\d{0,3}) (?P<unit>minute|hour|day)s?\)")
_AT = re.compile(r"at\((?P<moment>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_CRON = re.compile(r"cron\((?P<fields>[^()]+)\)")


def _expression(text: str) -> str:
    if _RATE.fullmatch(text):
        return text
    if at := _AT.fullmatch(text):
        datetime.fromisoformat(at["moment"])
        return text
    cron = _CRON.fullmatch(text)
    if cron is None:
        raise ValueError("give cron(0 9 ? * MON *), rate(5 minutes) or at(2027-01-31T09:00:00)")
    AwsCroniter(cron["fields"])
    return text


class Schedule(BaseModel):
    """One recurring request, as its file says it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    description: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    schedule: Annotated[str, AfterValidator(_expression)]
    zone: Zone = ZoneInfo("UTC")
    enabled: bool = True
    # The tick may come so many minutes late, which spreads load.
    within_minutes: Annotated[int, Field(ge=0, le=1440)] = 0
    request: dict[str, JsonValue]

    def next_times(self, since: datetime, count: int) -> list[datetime]:
        """Its next ticks after a moment, in its own zone; none for a rate: AWS counts from its deployment."""
        if at := _AT.fullmatch(self.schedule):
            moment = datetime.fromisoformat(at["moment"]).replace(tzinfo=self.zone)
            return [moment] if moment > since else []
        cron = _CRON.fullmatch(self.schedule)
        if cron is None:
            return []
        # The expression is about the clock on the wall; the library counts in UTC only.
        wall = since.astimezone(self.zone).replace(tzinfo=UTC)
        ticks: list[datetime] = AwsCroniter(cron["fields"]).get_next(wall, count + _SKIPPED)
        times = [moment.replace(tzinfo=self.zone) for moment in ticks if moment]
        ahead = [moment for moment in times if moment.astimezone(UTC) > since]
        return [moment for moment in ahead if moment == moment.astimezone(UTC).astimezone(self.zone)][:count]

    def input(self, name: str) -> str:
        """What the queue gets, with Scheduler's own words for the time of the tick."""
        filled: dict[str, JsonValue] = {
            "request_id": f"{name}/{PLACEHOLDER}",
            "source": "schedule",
            "occurred_at": PLACEHOLDER,
            **self.request,
        }
        return json.dumps(filled, ensure_ascii=False, indent=2).replace(PLACEHOLDER, SCHEDULED_TIME)


def read_all(folder: Path) -> dict[str, Schedule]:
    """Every schedule by its name, the file's own. Raises BridgeError naming all that is wrong."""
    schedules: dict[str, Schedule] = {}
    problems: list[str] = []
    ids: set[str] = set()
    for path in sorted(folder.glob("*.y*ml")):
        try:
            schedules[path.stem] = _read(path)
        except BridgeError as error:
            problems.append(str(error))
        if logical_id(path.stem) in ids:
            problems.append(f"{path.name}: another file has this name, up to hyphens")
        ids.add(logical_id(path.stem))
    if problems:
        raise BridgeError("\n".join(problems))
    return schedules


def _read(path: Path) -> Schedule:
    if not _NAME.fullmatch(path.stem):
        raise BridgeError(f"{path.name}: name it by up to 40 of a-z, 0-9 and -")
    try:
        schedule = Schedule.model_validate(yaml.safe_load(text_of(path)))
    except yaml.YAMLError as error:
        raise BridgeError(f"{path.name}: is no YAML: {error}") from error
    except ValidationError as error:
        lines = [f"{path.name}: {problem}" for problem in wrong_fields(error)]
        raise BridgeError("\n".join(lines)) from error
    sent = schedule.input(path.stem)
    if SCHEDULED_TIME not in json.loads(sent)["request_id"]:
        raise BridgeError(
            f"{path.name}: request.request_id: must hold {PLACEHOLDER}, to be another each time"
        )
    try:
        read_request(sent.replace(SCHEDULED_TIME, _A_TICK), Defaults("tick", "schedule", "kapture"))
    except RejectedError as error:
        raise BridgeError(
            "\n".join(f"{path.name}: request.{bad.field}: {bad.problem}" for bad in error.problems)
            or f"{path.name}: request: {error.message}"
        ) from error
    return schedule


def logical_id(name: str) -> str:
    """The name of a schedule's resource in the template."""
    return "".join(part.capitalize() for part in name.split("-")) + "Schedule"


def resources(schedules: Mapping[str, Schedule]) -> str:
    """The part of the template that makes them."""
    return "\n".join(_resource(name, schedule) for name, schedule in schedules.items())


def _resource(name: str, schedule: Schedule) -> str:
    window = '{ Mode: "OFF" }'
    if schedule.within_minutes:
        window = f"{{ Mode: FLEXIBLE, MaximumWindowInMinutes: {schedule.within_minutes} }}"
    sent = schedule.input(name).replace("\n", "\n          ")
    return f"""\
  {logical_id(name)}:
    Type: AWS::Scheduler::Schedule
    Properties:
      Name: !Sub ${{AWS::StackName}}-{name}
      Description: {json.dumps(schedule.description, ensure_ascii=False)}
      State: {"ENABLED" if schedule.enabled else "DISABLED"}
      ScheduleExpression: {schedule.schedule}
      ScheduleExpressionTimezone: {schedule.zone}
      FlexibleTimeWindow: {window}
      Target:
        Arn: !GetAtt RequestsQueue.Arn
        RoleArn: !GetAtt ScheduleRole.Arn
        DeadLetterConfig:
          Arn: !GetAtt DeadLetterQueue.Arn
        # A tick that was missed is made up for within six hours.
        RetryPolicy: {{ MaximumEventAgeInSeconds: 21600, MaximumRetryAttempts: 185 }}
        Input: |-
          {sent}
"""


def written(template: str, schedules: Mapping[str, Schedule]) -> str:
    """The template's text with exactly these schedules."""
    before, begin, rest = template.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise BridgeError("template.yaml has no place for recurring requests")
    return f"{before}{_BEGIN}\n{resources(schedules)}\n{_END}{after}"


def in_words(schedule: Schedule, times: Sequence[datetime]) -> str:
    """When it comes, by its next times."""
    if times:
        return ", ".join(f"{moment:%a %Y-%m-%d %H:%M}" for moment in times)
    rate = _RATE.fullmatch(schedule.schedule)
    if rate is None:
        return "never again"
    return f"every {rate['value']} {rate['unit']}{'s' if rate['value'] != '1' else ''}"
