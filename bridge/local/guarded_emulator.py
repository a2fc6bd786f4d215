"""MiniStack behind our guard: by itself it answers whatever page asks, and lets it read the answer."""

from __future__ import annotations

import ministack.app  # type: ignore[import-untyped]  # it has no types

from bridge.local.loopback import guarded


def main() -> None:
    """Serve it in the foreground, as `python -m ministack` does."""
    ministack.app.app = guarded(ministack.app.app)
    ministack.app.main()


if __name__ == "__main__":
    main()
