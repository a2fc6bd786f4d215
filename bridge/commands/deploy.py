"""What `make deploy` runs: builds, and deploys into an AWS account with the values that run there already.

python -m bridge.commands.deploy [Parameter=value ...]

`sam deploy --guided` offers the template's defaults and not what runs: it is for the first deployment only.
Later ones send what is named here, and CloudFormation keeps the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from samtranslator import yaml_helper  # type: ignore[import-untyped]  # it has no types

from bridge.errors import BridgeError
from bridge.local.state import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

ARCHITECTURE = "Architecture"
_LAYER = PROJECT / ".aws-sam" / "build" / "HelpdeskLayer"
# The field e_machine of ELF's header, 18 bytes from its beginning.
_MACHINES = {0xB7: "arm64", 0x3E: "x86_64"}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Build and deploy. Raises BridgeError where something is wrong before anything is deployed."""
    template = yaml_helper.yaml_parse((PROJECT / "template.yaml").read_text())["Parameters"]
    given = named(arguments, template)
    if environment.get("ARCHITECTURE"):
        given[ARCHITECTURE] = environment["ARCHITECTURE"]
    running = parameters_of(**_configured((PROJECT / "samconfig.toml").read_text()))
    architecture = (
        given.get(ARCHITECTURE) or (running or {}).get(ARCHITECTURE) or template[ARCHITECTURE]["Default"]
    )
    for name, value in given.items():
        print(f"{name}: {value}" + (f", before {running.get(name, 'not there')}" if running else ""))
    # The layer's makefile reads it.
    built_for = {**environment, "ARCHITECTURE": architecture}
    for command in commands(given | {ARCHITECTURE: architecture}, is_new=running is None):
        if command[1] == "deploy":
            check_machines(_LAYER, architecture)
        if status := subprocess.run(command, env=built_for, cwd=PROJECT, check=False).returncode:
            raise SystemExit(status)


def named(arguments: Iterable[str], known: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a command line. Raises BridgeError for unknown ones: SAM drops them."""
    pairs = [argument.partition("=") for argument in arguments]
    if wrong := [name for name, equals, _ in pairs if not equals or name not in known]:
        raise BridgeError(f"template.yaml has no parameter {', '.join(wrong)}; it has {', '.join(known)}")
    return {name: value for name, _, value in pairs}


def commands(given: Mapping[str, str], *, is_new: bool) -> list[list[str]]:
    """The SAM CLI's commands, in their order. A running stack's other parameters keep their values."""
    pairs = [f"{name}={value}" for name, value in given.items()]
    # The cache does not know for which architecture a layer was built.
    build = ["sam", "build", "--no-cached", "--parameter-overrides", *pairs]
    # In place of whatever samconfig.toml has kept of the first deployment's answers.
    deploy = ["sam", "deploy", "--confirm-changeset", "--parameter-overrides", *pairs]
    return [build, [*deploy, "--guided"] if is_new else deploy]


def check_machines(layer: Path, architecture: str) -> None:
    """Raises BridgeError where a built library is for another machine than the functions will run on."""
    for library in layer.rglob("*.so*"):
        machine = int.from_bytes(library.read_bytes()[18:20], "little")
        if _MACHINES.get(machine) != architecture:
            raise BridgeError(f"{library.name} is not for {architecture}: build anew, with make deploy")


def parameters_of(stack_name: str, region: str | None, profile: str | None) -> dict[str, str] | None:
    """The values with which a stack runs; None without one. Raises BridgeError where that is not known."""
    try:
        formation = boto3.Session(region_name=region, profile_name=profile).client("cloudformation")
        (stack,) = formation.describe_stacks(StackName=stack_name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise BridgeError(f"Whether {stack_name} runs cannot be read: {error}") from error
    except BotoCoreError as error:
        raise BridgeError(f"Whether {stack_name} runs cannot be read: {error}") from error
    if stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        # A first change set that nobody has confirmed.
        return None
    parameters = stack.get("Parameters", [])
    return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in parameters}


def _configured(samconfig: str) -> dict[str, Any]:
    """Stack, region and profile as the SAM CLI will have them."""
    default = tomllib.loads(samconfig)["default"]
    parameters = default["global"]["parameters"] | default.get("deploy", {}).get("parameters", {})
    return {name: parameters.get(name) for name in ("stack_name", "region", "profile")}


if __name__ == "__main__":
    try:
        main(sys.argv[1:], os.environ)
    except BridgeError as error:
        raise SystemExit(str(error)) from error
