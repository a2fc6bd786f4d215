"""`.ci/run` runs every test, in a real browser too, or fails saying what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NEEDED = ("bash", "dirname")


class Machine:
    """A machine that has nothing but the programs put there; each writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        self._calls = folder / "calls"
        self._calls.touch()
        for name in NEEDED:
            place = next(path for path in ("/usr/bin", "/bin") if Path(path, name).exists())
            (self.programs / name).symlink_to(Path(place, name))
        self.put("make", 'echo "CI is $CI"')
        self.put("id", "echo 0")

    def put(self, name: str, does: str) -> None:
        program = self.programs / name
        program.write_text(f'#!{self.programs}/bash\necho "{name} $*" >> {self._calls}\n{does}\n')
        program.chmod(0o755)

    def brings_by_apt(self) -> None:
        browser = self.programs / "chromium"
        self.put(
            "apt-get",
            f'if [ "$1" = install ]; then : > {browser}; {sys.executable} -c '
            f"\"import os; os.chmod('{browser}', 0o755)\"; fi",
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / ".ci" / "run"],
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return [line for line in self._calls.read_text().splitlines() if not line.startswith("id ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_that_is_there_is_used(machine: Machine, name: str) -> None:
    machine.put(name, "")
    machine.put("apt-get", "exit 1")

    done = machine.run()

    assert (done.returncode, done.stdout) == (0, "CI is true\n")
    assert machine.calls == ["make test"]


def test_a_browser_that_is_missing_is_brought(machine: Machine) -> None:
    machine.brings_by_apt()

    done = machine.run()

    assert (done.returncode, done.stdout) == (0, "CI is true\n")
    assert machine.calls == [
        "apt-get update",
        "apt-get install --yes --no-install-recommends chromium",
        "make test",
    ]


def test_who_is_not_root_asks_sudo_which_asks_nobody(machine: Machine) -> None:
    machine.put("id", "echo 1000")
    machine.brings_by_apt()
    machine.put("sudo", 'shift; exec "$@"')

    assert machine.run().returncode == 0
    assert machine.calls[:2] == ["sudo -n apt-get update", "apt-get update"]


@pytest.mark.parametrize("programs", [{}, {"apt-get": "exit 100"}, {"apt-get": "", "id": "echo 1000"}])
def test_without_a_browser_nothing_is_green(machine: Machine, programs: dict[str, str]) -> None:
    for name, does in programs.items():
        machine.put(name, does)

    done = machine.run()

    assert done.returncode == 1
    assert "There is no browser" in done.stderr
    assert "make test" not in machine.calls


BROWSER_TEST = """
from tests.e2e.browser import browser, needs_browser

@needs_browser
def test_the_page():
    with browser():
        pass
"""


@pytest.mark.parametrize(
    ("variables", "outcome"), [({}, "1 passed, 1 skipped"), ({"CI": "true"}, "1 passed, 1 error")]
)
def test_a_browser_test_that_does_not_run_is_told_last_and_fails_in_ci(
    machine: Machine, tmp_path: Path, variables: dict[str, str], outcome: str
) -> None:
    test = tmp_path / "test_page.py"
    test.write_text(BROWSER_TEST + "\n\ndef test_other():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-ra", "-p", "tests.conftest"]

    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "-c", os.devnull, str(test)],
        env={"PATH": str(machine.programs), "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    *_, advice, last = done.stdout.strip().splitlines()
    assert last.startswith(outcome)
    assert "no browser; mend it with: sudo apt-get install --yes chromium" in advice
    assert (done.returncode == 0) is (not variables)
