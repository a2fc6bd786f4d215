"""What holds the parts in their places: imports, handlers, versions, words."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path
from typing import get_args, get_type_hints

import botocore.session
import pytest
from botocore import xform_name

from helpdesk.clients.port import ClientParts, HelpdeskClient
from helpdesk.clients.registered import module_of, settings_of
from helpdesk.http.callbacks import Reading
from helpdesk.models import HelpdeskName

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "helpdesk"
FUNCTIONS = ROOT / "functions"
MODULES = sorted((LAYER / "helpdesk").rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
HANDLERS = sorted(FUNCTIONS.glob("*.py"))


def _place_of(module: Path) -> str:
    """The last folder and the name."""
    return "/".join(module.parts[-2:])


# A room imports from rooms before it, or beside it.
LAYER_ORDER = "errors < models < intake < clients < settings < runtime < store < work < http, parts"
BRIDGE_ORDER = "aws, calls, consent, errors, files, plain, progress < local < generate, simulators, learning"
BRIDGE_ORDER += " < stacks < operating < sending < console < checks < commands < cli"
# So that a reader finds the room for a change at once.
MOST_MODULES = 13

# Words of a helpdesk that differ from ours, besides the names in its folder whose words a capital divides.
WORDS_BESIDES = {
    "kapture": r"""ticket_details|email_id|customer_name|callback_time|callback_date|ticketId\b|taskId
    |taskTitle|ticketURL|task_details|[Aa]dditional_(details|info)|substatus|statusName|queueKey|queueName|assignedTo
    |lastFollowUp|lastConv\w*Time|customerName|customerEmail|customerPhone|[Aa]uth\s*[Kk]ey|JSESSIONID|\.html
    |["'](US|PS|OP|IN|PE|RS|CL|CRS)["']""",
    "socialboards": r"""(?i:errorCode|errorText|lockedBy|assigneeId|categoryId|customFields|creationTime
    |lastThreadElement|isHtml|ticketIds|verifyToken|InboxLink|ticket_status_change)""",
}


def _words_of(helpdesk: str) -> re.Pattern[str]:
    """What finds a helpdesk's own words: `ticketNumber` in its client is one."""
    text = "".join(path.read_text() for path in (LAYER / "helpdesk/clients" / helpdesk).glob("*.py"))
    names = {rf"\b{name}\b" for name in re.findall(r'"([a-z]+[A-Z]\w*)"', text)}
    return re.compile("|".join([WORDS_BESIDES.get(helpdesk, r"(?!)"), *names]), re.VERBOSE)


def _name_of(module: Path, root: Path) -> str:
    return ".".join(module.relative_to(root).with_suffix("").parts)


def imported_by(module: Path, package: Path) -> set[str]:
    """The package's modules that a module imports, also inside functions and for types only."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    ours = {name.removeprefix(f"{package.name}.") for name in names if name.startswith(f"{package.name}.")}
    return {name for name in ours if (package / (name.replace(".", "/") + ".py")).exists()}


def _modules_of(package: Path) -> dict[str, set[str]]:
    """Each module of a package by its name, and what it imports."""
    modules = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    return {_name_of(path, package): imported_by(path, package) for path in modules}


_PACKAGES = pytest.mark.parametrize(
    ("package", "order"),
    [(LAYER / "helpdesk", LAYER_ORDER), (ROOT / "bridge", BRIDGE_ORDER)],
    ids=["layer", "bridge"],
)


@_PACKAGES
def test_rooms_import_one_way(package: Path, order: str) -> None:
    floor = {room: place for place, rooms in enumerate(order.split(" < ")) for room in rooms.split(", ")}

    upward = {
        f"{name} imports {other}"
        for name, others in _modules_of(package).items()
        for other in others
        if floor[other.partition(".")[0]] > floor[name.partition(".")[0]]
    }

    assert not upward


@_PACKAGES
def test_imports_make_no_circle(package: Path, order: str) -> None:
    # Raises CycleError, which names the circle.
    list(TopologicalSorter(_modules_of(package)).static_order())


@_PACKAGES
def test_no_room_is_crowded(package: Path, order: str) -> None:
    rooms = Counter(path.parent for path in package.rglob("*.py") if path.name != "__init__.py")

    assert {room.name: modules for room, modules in rooms.items() if modules > MOST_MODULES} == {}


@pytest.mark.parametrize(
    "package", [path for path in MODULES if path.name == "__init__.py"], ids=lambda path: path.parent.name
)
def test_packages_hold_no_code(package: Path) -> None:
    code = [ast.unparse(statement).partition("(")[0] for statement in ast.parse(package.read_text()).body[1:]]

    # The first of ours that a handler loads.
    first = [
        "import gc",
        "import os",
        "import warnings",
        "if 'AWS_LAMBDA_FUNCTION_NAME' in os.environ:\n    gc.disable",
    ]
    assert code == (first if package.parent.name == "helpdesk" else [])


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda path: path.stem)
def test_a_handler_is_short_and_calls_nothing_itself(handler: Path) -> None:
    text = handler.read_text()
    tree = ast.parse(text)

    assert len(text.splitlines()) <= 40
    assert ast.get_docstring(tree)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"os", "boto3", "requests", "urllib3"}


IMPORT_ALONE = """
import socket, sys

def refuse(*_, **__):
    raise SystemExit("the import reached for the network")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
sys.path[:0] = sys.argv[1:3]
for name in sys.argv[3:]:
    __import__(name).handler
"""


def test_importing_a_handler_needs_no_environment_and_no_network() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            IMPORT_ALONE,
            str(FUNCTIONS),
            str(LAYER),
            *(handler.stem for handler in HANDLERS),
        ],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


INIT_FOR_A_SNAPSHOT = """
import os, random, socket, sys, time, uuid
sys.path[:0] = sys.argv[1:3]
# What comes with Python, and the SDK, may look at the clock while they are loaded.
import asyncio, botocore.session, email.utils, http.cookiejar, logging.config, tempfile, urllib.request
from helpdesk.work import service
from helpdesk.clients import transport

def refuse(*_, **__):
    raise SystemExit("init opened a connection, read a clock or made something unique")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = time.time = time.monotonic = time.perf_counter = os.urandom = refuse
uuid.uuid4 = random.random = random.uniform = refuse
from helpdesk.runtime import aws
made, make = [], aws.Clients._made
aws.Clients._made = lambda clients, service: made.append(service) or make(clients, service)
__import__(sys.argv[3])
print(*sorted(made))
"""

# As Lambda and the template set them, with values that lead nowhere.
ON_LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "KAPTURE_URL": "https://acme.kapturecrm.com",
    "KAPTURE_SECRET_ARN": "token",
    "KAPTURE_CALLBACK_SECRET_ARN": "callback",
    "REQUESTS_QUEUE_URL": "https://queue",
    "DEAD_LETTER_QUEUE_URL": "https://dead-letters",
    "OUTCOMES_TOPIC_ARN": "topic",
    "LEDGER_TABLE": "ledger",
    "MARKER_KEY_SECRET_ARN": "marker-key",
    "FORM_SECRET_FOLDER": "forms",
    "WATCH_MINUTES": "15",
}

# The clients that every invocation of a handler uses; what few of them use is made when it is.
MADE_AT_INIT = {
    "ticket_queue": "dynamodb secretsmanager sns",
    "ticket_api": "dynamodb secretsmanager sqs",
    "form_intake": "secretsmanager sqs",
    "callbacks": "dynamodb secretsmanager sns",
    "resolve_doubts": "dynamodb secretsmanager",
    "watch": "dynamodb secretsmanager sns",
    "daily_audit": "dynamodb secretsmanager sns",
}


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda path: path.stem)
def test_init_makes_the_clients_that_are_always_used_and_nothing_that_spoils_a_snapshot(
    handler: Path, tmp_path: Path
) -> None:
    (tmp_path / "forms.json").write_text("[]")

    done = subprocess.run(
        [sys.executable, "-c", INIT_FOR_A_SNAPSHOT, str(FUNCTIONS), str(LAYER), handler.stem],
        env=ON_LAMBDA | {"LAMBDA_TASK_ROOT": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, MADE_AT_INIT[handler.stem], "")


def test_everything_agrees_on_the_python_version() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    minor = ".".join(version.split(".")[:2])
    template = (ROOT / "template.yaml").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert minor == "3.13"
    assert set(re.findall(r"python\d\.\d+", template)) == {f"python{minor}"}
    assert project["project"]["requires-python"].startswith(f">={minor},")
    assert project["tool"]["ruff"]["target-version"] == f"py{minor.replace('.', '')}"
    assert sys.version_info[:2] == tuple(map(int, minor.split(".")))


@pytest.mark.parametrize("helpdesk", get_args(HelpdeskName))
def test_a_helpdesks_words_stay_in_its_modules(helpdesk: str) -> None:
    words, names = _words_of(helpdesk), get_args(HelpdeskName)
    neutral = [path for path in MODULES + HANDLERS if not any(name in _place_of(path) for name in names)]

    assert {path.name: found for path in neutral if (found := words.findall(path.read_text()))} == {}
    # Else nothing would be found anywhere.
    client = LAYER / "helpdesk/clients" / helpdesk / "client.py"
    assert words.search(client.read_text()) or helpdesk not in WORDS_BESIDES


@pytest.mark.parametrize("helpdesk", get_args(HelpdeskName))
def test_what_is_found_by_a_helpdesks_name_has_the_types_that_its_callers_expect(helpdesk: str) -> None:
    """Mypy does not see through the names; it holds each function to the types that it states."""

    def stated(function: object) -> list[object]:
        return list(get_type_hints(function).values())

    callback = module_of(helpdesk, "callback")
    expected = [ClientParts, settings_of(helpdesk), HelpdeskClient]
    assert stated(module_of(helpdesk, "client").client) == expected
    assert stated(callback.ticket_ids_in) == stated(Reading.ticket_ids_in)
    assert stated(callback.address_check_in) == stated(Reading.address_check_in)


# Private words that the field's own have replaced; the table of words is in docs/architecture.md.
RETIRED_WORDS = re.compile(
    r"""[Dd]esks|[Hh]eard|heard_in|hear|NOTHING|ANSWERED|Pass|admit|admit_spare|Figures|Keys|Steps|_Work|_Done
    |_?tell|teller|told_of|note_told|ChangeTeller|_?look|carry_out|Carried|Reconciler|reconcile|prove|proved
    |[Pp]rover|Proofs|proof|odd|sound|neutral|masked|planted|told|asked|chosen|looked|one""",
    re.VERBOSE,
)


def test_retired_words_do_not_come_back_as_names() -> None:
    paths = [path for folder in ("layers", "functions", "bridge") for path in (ROOT / folder).rglob("*.py")]

    retired = {
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path in paths
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.NAME and RETIRED_WORDS.fullmatch(token.string)
    }

    assert len(paths) > 100
    assert not retired


def test_the_layers_sdk_can_make_every_call_that_the_code_makes() -> None:
    kept = re.findall(r"\b(dynamodb|secretsmanager|sns|sqs)\.([A-Z]\w+)", (LAYER / "Makefile").read_text())
    session = botocore.session.get_session()
    known = {
        xform_name(operation)
        for service in {service for service, _ in kept}
        for operation in session.get_service_model(service).operation_names
    }
    used = {
        node.attr
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in known
    }

    assert used - {xform_name(operation) for _, operation in kept} == set()
