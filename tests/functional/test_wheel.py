"""The wheel that users install: what it carries, what it needs, and that it works without the checkout."""

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [Requirement(text) for text in PROJECT["dependencies"]]
# Run as programs, or loaded by name: no import says that they are needed.
UNIMPORTED = {"aws-sam-cli", "cfn-lint", "tzdata", "uv", "pyopenssl"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what git knows, as `make dist` does it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in files:
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        ".",
    ]
    subprocess.run([sys.executable, "-m", *command], cwd=source, check=True, timeout=200)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """Where it is unpacked; the checkout is not in the path before it."""
    folder = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=here,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_it_carries_what_is_deployed_and_nothing_that_only_maintainers_need(installed: Path) -> None:
    product = installed / "bridge" / "product"
    for name in ("functions", "layers", "examples", "events"):
        expected = {
            path.relative_to(ROOT)
            for path in (ROOT / name).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and "helpdesk/helpdesk" not in str(path)
        }
        carried = {path.relative_to(product) for path in (product / name).rglob("*") if path.is_file()}
        assert carried == expected
    # bridge deploy reads the second.
    for name in ("template.yaml", "CHANGELOG.md"):
        assert (product / name).read_text() == (ROOT / name).read_text()
    assert (installed / "helpdesk" / "parts.py").exists()
    assert sorted(path.name for path in installed.iterdir()) == [
        "bridge",
        "helpdesk",
        f"ticket_bridge-{PROJECT['version']}.dist-info",
    ]


def test_every_package_that_the_tools_import_is_declared_and_bounded() -> None:
    known = packages_distributions()
    imported: set[str] = set()
    for path in [*(ROOT / "bridge").rglob("*.py"), *(ROOT / "layers").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        # What stands below `if TYPE_CHECKING` is not loaded.
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in typing_only:
                continue
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    distributions = {
        name.lower().replace("_", "-") for module in imported for name in known.get(module, [])
    } - {"ticket-bridge"}
    declared = {requirement.name.lower() for requirement in NEEDED}

    # pydantic demands the one version of its core that it is made for.
    assert distributions - declared <= {"pydantic-core"}
    assert declared - distributions <= UNIMPORTED
    for requirement in NEEDED:
        assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}, requirement


def test_it_makes_and_checks_a_folder_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    made = run(installed, tmp_path, "-m", "bridge.cli", "init", "mine", "--yes", "--helpdesk", "socialboards")
    assert made.returncode == 0, made.stderr
    mine = tmp_path / "mine"
    where = run(installed, mine, "-c", "from bridge.local.state import PROJECT; print(PROJECT)")
    checked = run(installed, mine, "-m", "bridge.cli", "check")
    program = (
        "from pathlib import Path; from bridge.local.folder import current;"
        "from bridge.generate.sources import assemble; print(assemble(current(), Path('.bridge/source')))"
    )
    assembled = run(installed, mine, "-c", program)

    assert where.stdout.strip() == str(installed / "bridge" / "product")
    assert (checked.returncode, checked.stdout.count("ok  ")) == (0, 5), checked.stdout + checked.stderr
    assert assembled.returncode == 0, assembled.stderr
    source = mine / ".bridge" / "source"
    assert [path.name for path in (source / "functions" / "forms").iterdir()] == ["contact.yaml"]
    layer = source / "layers" / "helpdesk"
    assert (layer / "requirements.txt").read_text() == (ROOT / "layers/helpdesk/requirements.txt").read_text()
    assert (layer / "helpdesk" / "parts.py").exists()


def test_where_there_is_no_folder_it_says_how_to_make_one(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "-m", "bridge.cli", "check")

    assert (done.returncode, done.stderr) == (
        1,
        "Error: There is no bridge.toml here or above. Make a folder with: bridge init\n",
    )
