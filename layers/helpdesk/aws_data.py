"""Makes the SDK's data small: a cold start reads the models of its services and the list of endpoints.

python aws_data.py FOLDER CALL...: a call is a service and an operation, such as `sqs.SendMessage`.
"""

import gzip
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Set
from pathlib import Path
from typing import Any


def main(folder: Path, calls: list[str]) -> None:
    """Leaves what these calls need. Ends with an error where the SDK does not know one of them."""
    operations: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        service, _, operation = call.partition(".")
        operations[service].add(operation)
    _keep_endpoints(folder / "endpoints.json", operations.keys())
    for path in folder.iterdir():
        if path.is_dir() and path.name not in operations:
            shutil.rmtree(path)
    for path in folder.glob("*/*/service-2.json.gz"):
        model = json.loads(gzip.decompress(path.read_bytes()))
        _keep_operations(model, operations[path.parts[-3]])
        path.write_bytes(gzip.compress(_json(_without_texts(model)), mtime=0))


def _keep_endpoints(path: Path, services: Set[str]) -> None:
    listed = json.loads(path.read_text())
    for partition in listed["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in sorted(services & known.keys())}
    missing = services - listed["partitions"][0]["services"].keys()
    if missing:
        raise SystemExit(f"the SDK has no endpoints of {', '.join(sorted(missing))}")
    path.write_bytes(_json(listed))


def _keep_operations(model: dict[str, Any], names: set[str]) -> None:
    if missing := names - model["operations"].keys():
        raise SystemExit(f"the SDK has no {', '.join(sorted(missing))}")
    model["operations"] = {name: model["operations"][name] for name in sorted(names)}
    shapes: dict[str, Any] = {}
    reached = _shapes_in(model["operations"])
    while new := reached - shapes.keys():
        shapes |= {name: model["shapes"][name] for name in sorted(new)}
        reached = _shapes_in(shapes)
    model["shapes"] = shapes


def _shapes_in(described: Any) -> set[str]:
    """The names of the shapes to which a part of a model refers."""
    if isinstance(described, list):
        return set().union(*map(_shapes_in, described))
    if not isinstance(described, dict):
        return set()
    name = described.get("shape")
    own = {name} if isinstance(name, str) else set()
    return own.union(*map(_shapes_in, described.values()))


def _without_texts(described: Any) -> Any:
    """The same without what is for people: most of a model is its documentation."""
    if isinstance(described, dict):
        return {
            name: _without_texts(value)
            for name, value in described.items()
            if not (name == "documentation" and isinstance(value, str))
        }
    if isinstance(described, list):
        return [_without_texts(value) for value in described]
    return described


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
