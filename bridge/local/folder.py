"""The user's folder: bridge.toml with the stages and their settings, forms, schedules, samples."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bridge.errors import BridgeError
from bridge.files import text_of
from bridge.local.state import IS_CHECKOUT, PROJECT

NAME = "bridge.toml"
# The stage that is always there: the stack of `bridge up`.
LOCAL = "local"

type _Value = str | bool | int | float | list[str]


def _stack_name(name: str) -> str:
    # Longer names leave no room for those of functions and schedules.
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
        raise ValueError(f"{name!r} is not a letter and up to 31 small letters, digits and hyphens")
    return name


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Stage(_Part):
    """One deployment: which stack in which account, and what is set for it alone."""

    stack: Annotated[str, AfterValidator(_stack_name)] = "ticket-bridge"
    region: str | None = None
    profile: str | None = None
    parameters: dict[str, _Value] = Field(default_factory=dict)


class Config(_Part):
    """What bridge.toml says."""

    parameters: dict[str, _Value] = Field(default_factory=dict)
    stages: dict[str, Stage] = Field(default_factory=dict)

    def stage(self, name: str | None) -> tuple[str, Stage]:
        """The stage of that name, or the only one. Raises BridgeError."""
        known = {LOCAL: Stage(), **self.stages}
        if name is None:
            name = next(iter(self.stages), None) if len(self.stages) == 1 else None
        if name not in known:
            there = ", ".join(known)
            raise BridgeError(f"Say which stage: {there}" if name is None else f"No stage {name}: {there}")
        return name, known[name]

    def parameters_of(self, stage: Stage) -> dict[str, str]:
        """What is set for a stage, as CloudFormation takes it: the stage's own goes before the rest."""
        return {name: _text(value) for name, value in {**self.parameters, **stage.parameters}.items()}


def config_in(text: str) -> Config:
    """What the text of a bridge.toml says. Raises BridgeError that names all that is wrong."""
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BridgeError(f"{NAME}: is no TOML: {error}") from error
    except ValidationError as error:
        problems = {".".join(map(str, bad["loc"][:4])): bad["msg"] for bad in error.errors()}
        lines = [f"{NAME}: {at}: {what.removeprefix('Value error, ')}" for at, what in problems.items()]
        raise BridgeError("\n".join(lines)) from error


@dataclass(frozen=True)
class Folder:
    """A folder that holds bridge.toml."""

    root: Path

    @property
    def forms(self) -> Path:
        return self.root / "forms"

    @property
    def schedules(self) -> Path:
        return self.root / "schedules"

    @property
    def samples(self) -> Path:
        """The submissions that the forms are checked with."""
        return self.root / "samples"

    @property
    def state(self) -> Path:
        """What the tools keep: never committed."""
        return (PROJECT if IS_CHECKOUT and self == EXAMPLES else self.root) / ".bridge"

    def config(self) -> Config:
        """What bridge.toml says. Raises BridgeError that names all that is wrong."""
        return config_in(text_of(self.root / NAME))

    def stage(self, name: str | None) -> tuple[str, Stage]:
        """The stage of that name, or the only one. Raises BridgeError, which names the file."""
        config = self.config()
        try:
            return config.stage(name)
        except BridgeError as error:
            raise BridgeError(f"{error} (in {self.root / NAME})") from error


# Its forms and schedules are those of the demo and of the tests.
EXAMPLES = Folder(PROJECT / "examples")


def found() -> Folder | None:
    """The folder that is worked in: BRIDGE_FOLDER, or the nearest one upwards; in a checkout the examples."""
    if named := os.environ.get("BRIDGE_FOLDER"):
        return Folder(Path(named).absolute())
    here = Path.cwd()
    above = (Folder(folder) for folder in (here, *here.parents) if (folder / NAME).is_file())
    return next(above, EXAMPLES if IS_CHECKOUT else None)


def current() -> Folder:
    """The same. Raises BridgeError where there is none."""
    folder = found()
    if folder is None:
        raise BridgeError(f"There is no {NAME} here or above. Make a folder with: bridge init")
    return folder


def default_state() -> Path:
    folder = found()
    return folder.state if folder else Path.cwd() / ".bridge"


def _text(value: _Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)
