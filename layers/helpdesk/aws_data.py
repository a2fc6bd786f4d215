"""Makes the SDK's data small: a cold start reads the models of its services and the list of endpoints."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any


def main(folder: Path, services: set[str]) -> None:
    """Rewrites the files. Ends with an error where the SDK does not know one of the services."""
    _keep_endpoints(folder / "endpoints.json", services)
    for model in folder.glob("*/*/service-2.json.gz"):
        described = json.loads(gzip.decompress(model.read_bytes()))
        model.write_bytes(gzip.compress(_json(_without_texts(described)), mtime=0))


def _keep_endpoints(path: Path, services: set[str]) -> None:
    listed = json.loads(path.read_text())
    for partition in listed["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in sorted(services & known.keys())}
    missing = services - listed["partitions"][0]["services"].keys()
    if missing:
        raise SystemExit(f"the SDK has no endpoints of {', '.join(sorted(missing))}")
    path.write_bytes(_json(listed))


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
    main(Path(sys.argv[1]), set(sys.argv[2:]))
