"""Recurring requests: what their files may say, what the template gets, and when they come."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli import bridge
from bridge.errors import BridgeError
from bridge.generate import schedules, sources
from helpdesk.intake.requests import Defaults, read_request

GOOD = """\
description: Look after the plants
schedule: cron(30 2 * * ? *)
zone: Europe/Berlin
request:
  operation: add
  ticket: {title: "Plants, {scheduled_time}"}
"""


def read(folder: Path, text: str, name: str = "plants") -> schedules.Schedule:
    (folder / f"{name}.yaml").write_text(text)
    return schedules.read_all(folder)[name]


def test_a_tick_is_named_by_its_time(tmp_path: Path) -> None:
    sent = read(tmp_path, GOOD).input("plants").replace(schedules.SCHEDULED_TIME, "2026-05-01T00:30:00Z")

    request = read_request(sent, Defaults("message-id", "unknown", "kapture"))

    assert request.request_id == "plants/2026-05-01T00:30:00Z"
    assert request.source == "schedule"
    assert json.loads(sent)["ticket"]["title"] == "Plants, 2026-05-01T00:30:00Z"


def test_next_times_are_those_of_the_clock_on_the_wall_there(tmp_path: Path) -> None:
    schedule = read(tmp_path, GOOD.replace("30 2", "30 9"))

    # Between the first and the second, summer time ends.
    times = schedule.next_times(datetime(2026, 10, 23, 12, tzinfo=UTC), 3)

    assert [moment.isoformat() for moment in times] == [
        "2026-10-24T09:30:00+02:00",
        "2026-10-25T09:30:00+01:00",
        "2026-10-26T09:30:00+01:00",
    ]


def test_a_tick_in_the_hour_that_a_clock_change_skips_is_left_out(tmp_path: Path) -> None:
    schedule = read(tmp_path, GOOD)

    times = schedule.next_times(datetime(2027, 3, 26, 12, tzinfo=UTC), 2)
    each_minute = read(tmp_path, GOOD.replace("30 2", "* 2")).next_times(datetime(2027, 3, 28, tzinfo=UTC), 1)

    assert [moment.isoformat() for moment in times] == [
        "2027-03-27T02:30:00+01:00",
        "2027-03-29T02:30:00+02:00",
    ]
    assert [moment.isoformat() for moment in each_minute] == ["2027-03-29T02:00:00+02:00"]


def test_a_tick_of_the_hour_that_a_clock_change_repeats_does_not_come_again(tmp_path: Path) -> None:
    schedule = read(tmp_path, GOOD)

    # It is 02:15 for the second time.
    (moment,) = schedule.next_times(datetime(2026, 10, 25, 1, 15, tzinfo=UTC), 1)

    assert moment.isoformat() == "2026-10-26T02:30:00+01:00"


def test_a_moment_that_is_over_does_not_come_again(tmp_path: Path) -> None:
    once = read(tmp_path, GOOD.replace("cron(30 2 * * ? *)", "at(2027-01-31T09:00:00)"))

    assert [str(moment) for moment in once.next_times(datetime(2027, 1, 1, tzinfo=UTC), 3)] == [
        "2027-01-31 09:00:00+01:00"
    ]
    assert once.next_times(datetime(2027, 2, 1, tzinfo=UTC), 3) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("cron(30 2 * * ? *)", "cron(30 2 * * * *)", "plants.yaml: schedule: Invalid combination"),
        ("cron(30 2 * * ? *)", "every day", "plants.yaml: schedule: give cron("),
        ("cron(30 2 * * ? *)", "rate(0 minutes)", "plants.yaml: schedule: give cron("),
        ("cron(30 2 * * ? *)", "at(2027-02-31T09:00:00)", "plants.yaml: schedule: "),
        ("Europe/Berlin", "Mars/Base", "plants.yaml: zone: is no IANA time zone"),
        ("description: Look after the plants\n", "", "plants.yaml: description: Field required"),
        ("operation: add", "operation: mow", "plants.yaml: request.operation: "),
        ("{title:", "{name:", "plants.yaml: request.ticket.title: is missing"),
        (
            "operation: add",
            "operation: add\n  request_id: same",
            "plants.yaml: request.request_id: must hold",
        ),
        ("zone:", "zone: [", "plants.yaml: is no YAML"),
        ("zone:", "colour: green\nzone:", "plants.yaml: colour: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, before: str, after: str, said: str) -> None:
    with pytest.raises(BridgeError) as caught:
        read(tmp_path, GOOD.replace(before, after))

    assert said in str(caught.value)


def test_all_files_are_looked_at_before_anything_is_said(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("description: x")
    (tmp_path / "Two.yaml").write_text(GOOD)

    with pytest.raises(BridgeError, match=r"(?s)Two\.yaml: name it.*one\.yaml: schedule"):
        schedules.read_all(tmp_path)


def test_two_files_whose_schedules_would_have_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "report-1.yaml").write_text(GOOD)
    (tmp_path / "report1.yaml").write_text(GOOD)

    with pytest.raises(BridgeError, match=r"report1\.yaml: another file has this name"):
        schedules.read_all(tmp_path)


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    template = sources.TEMPLATE.read_text()
    plants = {"plants": read(tmp_path, GOOD)}

    once = schedules.written(template, plants)

    assert schedules.written(once, plants) == once
    assert "PlantsSchedule:" in once
    assert "WeeklyReviewSchedule:" not in once


def test_the_command_shows_the_schedules_and_their_next_times() -> None:
    result = CliRunner().invoke(bridge, ["schedules"])
    rows = CliRunner().invoke(bridge, ["schedules", "--json"]).output.splitlines()

    # There may be others beside it.
    assert result.exit_code == 0
    assert "cron(0 9 ? * MON *) Asia/Kolkata; Mon " in result.output
    assert "weekly-review" in [json.loads(row)["name"] for row in rows]
