"""Builds what is compared: this application as `sam build` does it, and the plain handler in three ways."""

import compileall
import io
import os
import platform
import py_compile
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "helpdesk"
FUNCTIONS = ROOT / "functions"
ARCHITECTURE = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
# What the plain handler's requirements.txt would say; Lambda's runtime has the SDK.
PLAIN = ("aws-lambda-powertools", "pydantic", "requests")
SDK = ("boto3",)
# Packages of the layer that are the SDK: `botocore` and what only it needs.
SDK_IN_LAYER = ("botocore", "dateutil", "python_dateutil", "six")


@dataclass(frozen=True)
class Artifact:
    """Where a worker's modules are, in the order in which Python looks."""

    name: str
    path: tuple[Path, ...]
    # Lambda's file system is read-only: what has no bytecode is compiled at each start.
    compiles: bool = True


def build_functions(folder: Path) -> Path:
    """The code of the functions."""
    folder.mkdir(parents=True)
    _make(FUNCTIONS, "build-FormIntakeFunction", folder)
    return folder


def build_layer(folder: Path, architecture: str = ARCHITECTURE) -> Path:
    """The layer, as it is under /opt."""
    folder.mkdir(parents=True)
    _make(LAYER, "build-HelpdeskLayer", folder, architecture)
    return folder


def build_plain(folder: Path) -> tuple[Artifact, Artifact, Artifact]:
    """By default, with an SDK of its own by default, and all of it with bytecode."""
    by_default, own_sdk, runtime = folder / "default", folder / "own-sdk", folder / "runtime"
    _install(by_default, PLAIN)
    _install(runtime, SDK)
    shutil.copy(Path(__file__).with_name("plain_handler.py"), by_default)
    shutil.copytree(by_default, own_sdk)
    shutil.copytree(runtime, own_sdk, dirs_exist_ok=True)
    # Whether Lambda's own packages come with bytecode is not documented; they are given the benefit.
    _compile(runtime)
    compiled = folder / "compiled"
    shutil.copytree(by_default, compiled)
    _compile(compiled)
    return (
        Artifact("plain", (by_default, runtime)),
        Artifact("plain, SDK in the package", (own_sdk,)),
        Artifact("plain, with bytecode", (compiled, runtime)),
    )


def zipped(folder: Path, without: tuple[str, ...] = ()) -> bytes:
    """A zip file as SAM makes it: every file of the year 1980."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not any(part.startswith(without or "\0") for part in path.parts):
                inside = zipfile.ZipInfo(str(path.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                inside.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(inside, path.read_bytes())
    return made.getvalue()


def _make(folder: Path, target: str, artifacts: Path, architecture: str = ARCHITECTURE) -> None:
    environment = os.environ | {
        "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ARTIFACTS_DIR": str(artifacts),
        "ARCHITECTURE": architecture,
    }
    subprocess.run(["make", "--silent", target], cwd=folder, env=environment, check=True)


def _install(folder: Path, packages: tuple[str, ...]) -> None:
    uv = ROOT / ".venv" / "bin" / "uv"
    pins = ROOT / "requirements-dev.txt"
    # Copied, not linked: an authority is added to them.
    options = ["--quiet", "--link-mode", "copy", "--target", str(folder)]
    options += ["--python", str(ROOT / ".venv" / "bin" / "python")]
    command = [str(uv), "pip", "install", *options, "--no-config", "--constraint", str(pins), *packages]
    subprocess.run(command, check=True)


def _compile(folder: Path) -> None:
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode, workers=0)
