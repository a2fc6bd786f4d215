"""What every kind of test needs."""

import os
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]  # no types

from tests import quick_moto

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "POWERTOOLS_SERVICE_NAME": "ticket-bridge",
}
# Set by a developer's own shell, these would lead tests to real accounts and bundles.
_FOREIGN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")


quick_moto.apply()


_DEPLOYED = "tests/e2e/"
# What is costly to set up and shared by the tests of a module: a built layer or wheel, a deployed stack.
_TOGETHER = (_DEPLOYED, *(f"tests/functional/test_{name}.py" for name in ("artifacts", "roles", "wheel")))
# The longest first, so that all workers end at the same time. The others keep their order.
_LONGEST = (
    "tests/e2e/test_upgrade.py",
    "tests/e2e/test_local_stack.py",
    "tests/e2e/test_smoke.py",
    "tests/e2e/test_second_deployment.py",
    "tests/e2e/test_console.py",
    "tests/e2e/test_documented.py",
    "tests/e2e/test_first_hour.py",
    _DEPLOYED,
)
# Each has a stack of its own. The others begin with what needs none.
_STACKS = 2


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """Gives a worker such a module whole, and other tests one by one; few workers get what is deployed."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if nodeid.startswith(_TOGETHER) else nodeid

    def _assign_work_unit(self, node: Any) -> None:
        if node not in self.nodes[:_STACKS]:
            without = (scope for scope in self.workqueue if not scope.startswith(_DEPLOYED))
            if first := next(without, None):
                self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    """Which test goes to which worker."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors: many a test waits for a time-out, or for the stack."""
    return (os.process_cpu_count() or 1) * 3 // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In which order they run."""
    items.sort(key=lambda item: [item.nodeid.startswith(name) for name in _LONGEST], reverse=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A green run of CI means that everything ran: what would be skipped fails there."""
    report = yield
    if report.skipped and "CI" in os.environ:
        report.outcome, report.longrepr = "failed", f"CI skips nothing: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Says how many tests did not run, and why, below everything but pytest's own last line."""
    yield
    for reason, count in Counter(map(_reason, terminalreporter.getreports("skipped"))).items():
        terminalreporter.write_line(f"{count} not run: {reason}", yellow=True, bold=True)


def _reason(report: Any) -> str:
    reason: str = report.longrepr[2]
    return reason.removeprefix("Skipped: ")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
