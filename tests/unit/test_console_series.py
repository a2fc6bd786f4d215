"""The figures behind the console's plots: sums over helpdesks, gaps, and how often CloudWatch is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bridge.console.connection import ServedHelpdesk
from bridge.console.series import MINUTES, Series, last_hour, together
from helpdesk.store.gate import Budget

if TYPE_CHECKING:
    from bridge.console.connection import Connected

NOW = 1_795_294_830.0
# The last minute is the one that has begun.
LAST = MINUTES - 1


class CloudWatch:
    """Answers with what it holds: a figure by name, helpdesk or queue, statistic, and minutes ago."""

    def __init__(self, figures: dict[tuple[str, str, str, int], float]) -> None:
        self._figures = figures
        self.asked: list[dict[str, Any]] = []

    def get_metric_data(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        return {"MetricDataResults": [self._result(query, asked) for query in asked["MetricDataQueries"]]}

    def _result(self, query: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        metric, statistic = query["MetricStat"]["Metric"], query["MetricStat"]["Stat"]
        of = metric["Dimensions"][-1]["Value"]
        points = {
            datetime.fromtimestamp((NOW // 60 - ago) * 60, UTC): figure
            for (name, whose, how, ago), figure in self._figures.items()
            if (name, whose, how) == (metric["MetricName"], of, statistic)
        }
        assert all(asked["StartTime"] <= at < asked["EndTime"] for at in points)
        return {"Id": query["Id"], "Timestamps": list(points), "Values": list(points.values())}


def _stack(cloudwatch: CloudWatch, *, is_local: bool = False) -> Connected:
    target = SimpleNamespace(
        name="production", requests_queue_url="https://sqs.example/1/requests", cloudwatch=cloudwatch
    )
    helpdesks = [ServedHelpdesk(name, name.capitalize(), Budget()) for name in ("kapture", "socialboards")]
    return cast(
        "Connected", SimpleNamespace(target=target, helpdesks=helpdesks, local=object() if is_local else None)
    )


def test_outcomes_of_all_helpdesks_are_added_up_and_no_figure_is_none_of_them() -> None:
    cloudwatch = CloudWatch(
        {
            ("Succeeded", "kapture", "Sum", 0): 2.0,
            ("Succeeded", "socialboards", "Sum", 0): 3.0,
            ("Rejected", "kapture", "Sum", LAST): 1.0,
        }
    )

    outcomes = last_hour(_stack(cloudwatch), NOW)["outcomes"]

    assert list(outcomes) == ["succeeded", "rejected", "parked", "unknown"]
    assert outcomes["succeeded"] == [0.0] * LAST + [5.0]
    assert outcomes["rejected"] == [1.0] + [0.0] * LAST
    assert outcomes["parked"] == [0.0] * MINUTES


def test_latencies_stay_apart_by_helpdesk_and_a_gap_stays_a_gap() -> None:
    cloudwatch = CloudWatch(
        {
            ("RequestMilliseconds", "kapture", "p50", 1): 80.0,
            ("RequestMilliseconds", "kapture", "p99", 1): 900.0,
        }
    )

    kapture, socialboards = last_hour(_stack(cloudwatch), NOW)["latencies"]

    assert kapture["title"] == "Kapture"
    assert kapture["p50"][-3:] == [None, 80.0, None]
    assert kapture["p99"][-3:] == [None, 900.0, None]
    assert socialboards["p99"] == [None] * MINUTES


def test_what_waits_is_what_is_visible_and_what_is_in_flight() -> None:
    cloudwatch = CloudWatch(
        {
            ("ApproximateNumberOfMessagesVisible", "requests", "Maximum", 1): 4.0,
            ("ApproximateNumberOfMessagesNotVisible", "requests", "Maximum", 1): 3.0,
            ("ApproximateNumberOfMessagesNotVisible", "requests", "Maximum", 0): 2.0,
            ("InDoubt", "kapture", "Maximum", 0): 1.0,
            ("InDoubt", "socialboards", "Maximum", 0): 1.0,
        }
    )

    series = last_hour(_stack(cloudwatch), NOW)

    assert series["waiting"][-3:] == [None, 7.0, 2.0]
    assert series["doubts"][-2:] == [None, 2.0]
    assert series["from"] + series["step_s"] * MINUTES == 1_795_294_860.0


@pytest.mark.parametrize(("is_local", "times"), [(True, 3), (False, 1)])
def test_a_deployed_stack_is_asked_once_a_minute_whoever_looks(is_local: bool, times: int) -> None:
    cloudwatch, clock = CloudWatch({}), iter([NOW, NOW + 5, NOW + 59.9, NOW + 60])
    series, stack = Series(lambda: next(clock)), _stack(cloudwatch, is_local=is_local)

    for _ in range(3):
        series.read(stack)

    assert len(cloudwatch.asked) == times
    # What docs/operate.md says that an hour of looking costs.
    assert len(cloudwatch.asked[0]["MetricDataQueries"]) == 2 + 7 * 2
    series.read(stack)
    assert len(cloudwatch.asked) == times + (0 if is_local else 1)


def test_a_minute_without_any_figure_has_no_sum() -> None:
    assert together([[1.0, None, None], [2.0, 0.0, None]]) == [3.0, 0.0, None]
