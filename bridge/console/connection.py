"""Finds the stack that the console shows, each time anew, so that a stack that comes back is found again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bridge.errors import BridgeError
from bridge.local.emulator import Clients
from bridge.local.helpdesks import HELPDESKS, LocalHelpdesk
from bridge.operating.operations import Operations
from bridge.stacks import deployment, target
from helpdesk.store.gate import Budget

if TYPE_CHECKING:
    from bridge.local.state import Stack, StateFolder
    from bridge.stacks.target import Target

# Parameters change with a deployment only.
_REMEMBERED_S = 60.0


@dataclass(frozen=True)
class ServedHelpdesk:
    """A helpdesk that the stack serves, and what its budget allows."""

    name: str
    title: str
    budget: Budget


class Local:
    """What only a stack on this machine has: its addresses, and simulators that can be made to fail."""

    def __init__(self, stack: Stack, state: StateFolder) -> None:
        self.stack = stack
        self.aws = Clients(stack.endpoint_url)
        self._state = state

    @property
    def simulated(self) -> list[LocalHelpdesk]:
        """Those whose simulator runs: nothing else is ever made to fail."""
        return [desk for desk in HELPDESKS if self._state.running(desk.simulator)]


class Connected:
    """One stack, reached."""

    def __init__(self, reached: Target, local: Local | None = None) -> None:
        self.target = reached
        self.local = local
        self.operations = Operations(reached)
        self._served: list[ServedHelpdesk] = []
        self._served_until = 0.0

    @property
    def helpdesks(self) -> list[ServedHelpdesk]:
        """The served helpdesks, the default one first. Raises BridgeError, or what botocore raises."""
        if time.monotonic() > self._served_until:
            given = deployment.running_parameters(self.target.cloudformation, self.target.name)
            if given is None:
                raise BridgeError(f"There is no stack {self.target.name} any more")
            self._served = [_served(name, given) for name in given.get("Helpdesks", "kapture").split(",")]
            self._served_until = time.monotonic() + _REMEMBERED_S
        return self._served


class Connection(Protocol):
    """Gives the stack, or raises BridgeError that says why it cannot be reached."""

    def connected(self) -> Connected: ...


class LocalConnection:
    """The stack of a state folder; after `bridge down` and `bridge up` it is the new one."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._last: Connected | None = None

    def connected(self) -> Connected:
        stack = self._state.read_stack()
        last = self._last
        if last is None or last.local is None or last.local.stack != stack:
            last = self._last = Connected(target.local(stack, self._state.root), Local(stack, self._state))
        return last


class DeployedConnection:
    """A stack in the AWS account of the usual credentials."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Connected | None = None

    def connected(self) -> Connected:
        """The stack, looked up until it is found once."""
        if self._last is None:
            self._last = Connected(target.deployed(self._name))
        return self._last


def _served(name: str, given: dict[str, str]) -> ServedHelpdesk:
    title = next((desk.title for desk in HELPDESKS if desk.name == name), name)
    limit, period = given.get(f"{title}Budget"), given.get(f"{title}BudgetPeriodSeconds")
    return ServedHelpdesk(name, title, Budget(int(limit or 0), float(period or 60)))
