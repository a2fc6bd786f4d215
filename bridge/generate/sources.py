"""Puts together what the SAM CLI builds: template, functions and layer, with a user's forms and schedules."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samtranslator import yaml_helper  # type: ignore[import-untyped]  # it has no types

import helpdesk
from bridge.generate import schedules
from bridge.local.state import PROJECT

if TYPE_CHECKING:
    from bridge.local.folder import Folder

TEMPLATE = PROJECT / "template.yaml"
_UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc")


def template(folder: Folder | None) -> str:
    """The template's text with the schedules of a folder. Raises BridgeError naming all that is wrong."""
    return schedules.written(TEMPLATE.read_text(), schedules.read_all(folder.schedules) if folder else {})


@cache
def shipped() -> dict[str, Any]:
    """The template as it is shipped, for reading only: a command asks for many parts of it."""
    parsed: dict[str, Any] = yaml_helper.yaml_parse(TEMPLATE.read_text())
    return parsed


def parameters() -> dict[str, dict[str, Any]]:
    """The template's parameters, in its own order."""
    known: dict[str, dict[str, Any]] = shipped()["Parameters"]
    return known


def groups() -> list[tuple[str, list[str]]]:
    """The titles under which parameters belong together, and their names."""
    interface = shipped()["Metadata"]["AWS::CloudFormation::Interface"]
    return [(group["Label"]["default"], group["Parameters"]) for group in interface["ParameterGroups"]]


def variables() -> dict[str, str | None]:
    """The environment of every function: the parameter of each variable, None for what is made or derived."""
    parsed = shipped()
    environment = parsed["Globals"]["Function"]["Environment"]["Variables"]
    return {
        variable: value["Ref"] if value.get("Ref") in parsed["Parameters"] else None
        for variable, value in environment.items()
    }


def assemble(folder: Folder, target: Path) -> Path:
    """Write everything that is built into `target`; returns the template there. Raises BridgeError."""
    text = template(folder)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(PROJECT / "functions", target / "functions", ignore=_UNWANTED)
    if folder.forms.is_dir():
        shutil.copytree(folder.forms, target / "functions" / "forms")
    shutil.copytree(PROJECT / "layers", target / "layers", ignore=_UNWANTED)
    # The tools use the layer's own package, so that the wheel carries it once.
    package = Path(helpdesk.__file__).parent
    shutil.copytree(
        package, target / "layers" / "helpdesk" / "helpdesk", ignore=_UNWANTED, dirs_exist_ok=True
    )
    (target / "template.yaml").write_text(text)
    return target / "template.yaml"
