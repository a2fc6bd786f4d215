"""Alarms, runbook and dashboard tell of the same things in the same words."""

import ast
import json
import re
from pathlib import Path

import pytest

from tests.unit.test_template import RESOURCES, of_type

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operate.md").read_text()
ALARMS = of_type("AWS::CloudWatch::Alarm")
LAYER = ROOT / "layers" / "helpdesk" / "helpdesk"


def name_of(alarm: str) -> str:
    name: str = ALARMS[alarm]["AlarmName"]["Fn::Sub"]
    return name.removeprefix("${AWS::StackName}-")


def test_each_alarm_has_a_runbook_entry_of_its_name_and_each_entry_an_alarm() -> None:
    part = RUNBOOK[RUNBOOK.index("\n## Alarms") :]
    entries = re.findall(r"^### (\S+)$", part[: part.index("\n## ", 4)], re.MULTILINE)

    assert sorted(entries) == sorted(name_of(alarm) for alarm in ALARMS)


@pytest.mark.parametrize("alarm", ALARMS, ids=name_of)
def test_an_alarm_says_what_it_means_and_what_to_do_first(alarm: str) -> None:
    written = ALARMS[alarm]["AlarmDescription"]
    description = written if isinstance(written, str) else written["Fn::Sub"]

    assert re.fullmatch(r"[A-Z].+\. First: .+\.", description)
    # Whoever gets the mail may have another stack on their machine.
    for command in re.findall(r"bridge [a-z-]+", description):
        assert re.search(rf"{command}( [a-z-]+)? --stack \$\{{AWS::StackName\}}", description), command
    # The most that CloudWatch takes.
    assert len(description) <= 1024


@pytest.mark.parametrize("alarm", ALARMS, ids=name_of)
def test_an_alarm_says_when_it_is_over(alarm: str) -> None:
    assert ALARMS[alarm]["OKActions"] == ALARMS[alarm]["AlarmActions"]
    # A figure of once an hour holds until the next.
    hourly = ALARMS[alarm].get("Period") == 3600
    assert ALARMS[alarm]["TreatMissingData"] in ("notBreaching", "breaching", *(["ignore"] if hourly else []))


def test_what_an_alarm_watches_is_told_by_some_function() -> None:
    published = set()
    for module in LAYER.rglob("*.py"):
        published |= {
            node.value
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    watched = {alarm["MetricName"] for alarm in ALARMS.values() if alarm["Namespace"] == "TicketBridge"}

    assert len(watched) > 4
    assert watched <= published


def test_every_code_in_the_runbook_is_one_that_is_told() -> None:
    sources = [*LAYER.rglob("*.py"), *(ROOT / "bridge").rglob("*.py")]
    text = "\n".join(source.read_text() for source in sources)
    rows = re.findall(r"^\| (`[^|]+) \|", RUNBOOK, re.MULTILINE)
    codes = {code for row in rows for code in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", row)}

    assert len(codes) > 20
    assert {code for code in codes if f'"{code}"' not in text} <= {"service", "helpdesk"}


def test_the_dashboards_first_row_shows_every_alarm() -> None:
    body, more = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(re.sub(r"\$\{NoTraffic\}", ', "${NoTrafficAlarm.Arn}"', body))["widgets"]
    first_row = [widget for widget in widgets if widget["y"] == 0]

    (alarms,) = [widget for widget in first_row if widget["type"] == "alarm"]
    assert sorted(alarms["properties"]["alarms"]) == sorted(f"${{{alarm}.Arn}}" for alarm in ALARMS)
    assert "NoTrafficAlarm" in str(more["NoTraffic"])
    assert sum(widget["width"] for widget in first_row) == 24


def test_the_runbook_names_every_figure() -> None:
    figures = set()
    for module in LAYER.rglob("*.py"):
        figures |= set(
            re.findall(
                r'(?:_count\(|name=|count\(helpdesk, |time\(helpdesk, |share\(helpdesk, )"([A-Z]\w+)"',
                module.read_text(),
            )
        )
    assert len(figures) > 8
    assert {figure for figure in figures if f"`{figure}`" not in RUNBOOK} == set()


def test_what_waits_on_the_dashboard_is_also_what_is_in_flight() -> None:
    body, _ = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body.replace("${NoTraffic}", ""))["widgets"]
    (now,) = [widget["properties"]["metrics"] for widget in widgets if widget["properties"]["title"] == "Now"]
    hidden = {row[-1]["id"]: (row[1], row[3]) for row in now if row[-1].get("visible") is False}

    (waiting,) = [row[0]["expression"] for row in now if row[0] and "expression" in str(row[0])]
    assert {hidden[name] for name in waiting.split(" + ")} == {
        (f"ApproximateNumberOfMessages{kind}", "${RequestsQueue.QueueName}")
        for kind in ("Visible", "NotVisible")
    }


def test_the_dashboard_plots_what_the_console_plots() -> None:
    body, _ = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body.replace("${NoTraffic}", ""))["widgets"]
    plots = [
        json.dumps(widget["properties"]["metrics"])
        for widget in widgets
        if widget["type"] == "metric" and widget["properties"].get("view") != "singleValue"
    ]

    assert any("seen + hidden" in plot and "InDoubt" in plot for plot in plots)
    for outcome in ("Succeeded", "Rejected", "Parked", "Unknown"):
        assert any(outcome in plot for plot in plots), outcome
    (latency,) = [plot for plot in plots if "RequestMilliseconds" in plot]
    assert "'p50'" in latency
    assert "'p99'" in latency
