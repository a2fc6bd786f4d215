"""The state folder of one local stack: what runs, where it answers, and its logs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.local import processes
from bridge.local.helpdesks import HELPDESKS
from bridge.local.processes import Group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_CHECKOUT = Path(__file__).resolve().parents[2]
IS_CHECKOUT = (_CHECKOUT / "template.yaml").exists()
# Where template, functions, layer, samples and examples are: the checkout, or what the wheel carries of it.
PROJECT = _CHECKOUT if IS_CHECKOUT else Path(__file__).resolve().parents[1] / "product"
EMULATOR = "ministack"
LOCK_SECONDS = 15.0
_TAIL_LINES = 25


@dataclass(frozen=True)
class Stack:
    """A deployed local stack: every value can be used as it is with boto3, curl and the AWS CLI."""

    endpoint_url: str
    region: str
    requests_queue_url: str
    dead_letter_queue_url: str
    outcomes_topic_arn: str
    outcomes_queue_url: str
    api_url: str
    api_key: str
    event_bus_name: str
    ledger_table: str
    # With commas between, the default first.
    helpdesks: str
    # By helpdesk; each value has a key of its own in stack.json.
    urls: Mapping[str, str]
    secret_arns: Mapping[str, str]
    # The console's page; the key in it lets whoever has it act, so it is for this user only.
    console_url: str = ""
    # The folder with bridge.toml whose forms and schedules are deployed.
    bridge_folder: str = ""
    # Sent with every call of the API besides x-api-key; a Host header where the API is known by name only.
    api_headers: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What stack.json holds."""
        values = asdict(self)
        urls, secrets = values.pop("urls"), values.pop("secret_arns")
        for desk in HELPDESKS:
            values |= {desk.url_key: urls[desk.name], desk.secret_key: secrets[desk.name]}
        return values

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Stack:
        """The stack that stack.json describes. Raises LookupError, TypeError or ValueError."""
        rest = dict(content)
        urls = {desk.name: rest.pop(desk.url_key) for desk in HELPDESKS}
        secrets = {desk.name: rest.pop(desk.secret_key) for desk in HELPDESKS}
        return cls(**rest, urls=urls, secret_arns=secrets)


class StateFolder:
    """The files of one stack. Stacks with different folders run side by side."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.stack_file = self.root / "stack.json"
        self.logs = self.root / "logs"
        # Removed by stop_all, so the name is one that nobody else gives to a folder.
        self.temporary = self.root / "bridge-tmp"
        self.sam = self.root / "sam"
        self._processes_file = self.root / "processes.json"
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        self._scratch = Path(tempfile.gettempdir()) / f"bridge-{os.getuid()}-{digest}"
        self._lock_file = self.root / "lock"
        self._is_locked = False

    def scratch(self) -> Path:
        """A folder for temporary files whose path leaves room for a socket; `stop_all` removes it."""
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        if self._scratch.is_symlink() or self._scratch.stat().st_uid != os.getuid():
            raise BridgeError(f"{self._scratch} belongs to someone else")
        return self._scratch

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def end_of_log(self, name: str) -> str:
        """Where the log is and how it ends, for a message."""
        lines = [line for line in self.log(name).read_text(errors="replace").splitlines() if line.strip()]
        end = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
        return f"The whole log is {self.log(name)}; it ends with:\n{end}"

    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None
    ) -> Group:
        """Start a program that `bridge down` will find, even when this process dies right after."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        with processes.stop_signals_wait():
            group = processes.start(name, command, env=env, log=self.log(name), cwd=cwd)
            self._write_groups([*self.groups(), group])
        return group

    def groups(self) -> list[Group]:
        """Everything that was started and not yet stopped, running or not."""
        content = _read_json(self._processes_file)
        try:
            return [Group(**entry) for entry in content] if isinstance(content, list) else []
        except TypeError as error:
            raise BridgeError(
                f"{self._processes_file} is broken: remove it, and end by hand what still runs"
            ) from error

    def running(self, name: str) -> Group | None:
        groups = (group for group in self.groups() if group.name == name and processes.members(group))
        return next(groups, None)

    def stop(self, groups: Iterable[Group]) -> None:
        """End these groups and forget them."""
        ended = list(groups)
        processes.stop(ended)
        self._write_groups([group for group in self.groups() if group not in ended])

    def stop_all(self) -> list[str]:
        """End everything that was started from this folder; returns the names of what still ran."""
        running = [group.name for group in self.groups() if processes.members(group)]
        self.stop(self.groups())
        self.stack_file.unlink(missing_ok=True)
        shutil.rmtree(self.temporary, ignore_errors=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return running

    def write_stack(self, stack: Stack) -> None:
        write_json(self.stack_file, stack.as_json())

    def read_stack(self) -> Stack:
        """The stack that runs. Raises BridgeError when there is none."""
        content = _read_json(self.stack_file)
        if not self.running(EMULATOR) or not self.stack_file.exists():
            raise BridgeError(f"No stack is running from {self.root}. Start one with: bridge up")
        try:
            return Stack.of_json(content)
        except (LookupError, TypeError, ValueError) as error:
            why = f"{self.stack_file} is broken, or another version has written it"
            raise BridgeError(f"{why}. Put it right with: bridge up") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes a stack; within a lock that is held already this does nothing.

        Raises BridgeError when another command does not finish.
        """
        if self._is_locked:
            yield
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BridgeError(f"cannot make the state folder {self.root}: {error.strerror}") from error
        deadline = time.monotonic() + LOCK_SECONDS
        with self._lock_file.open("a+") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        lock.seek(0)
                        raise BridgeError(
                            f"Another bridge command (pid {lock.read().strip()}) is at work on {self.root}."
                            " Wait for it, or end it with Ctrl-C."
                        ) from None
                    time.sleep(0.1)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    def _write_groups(self, groups: list[Group]) -> None:
        write_json(self._processes_file, [asdict(group) for group in groups])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise BridgeError(f"cannot read {path}: {error.strerror}") from error


def write_json(path: Path, content: object) -> None:
    """Write the file in one step, for its owner only: some hold keys."""
    draft = path.with_suffix(".draft")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(path)
