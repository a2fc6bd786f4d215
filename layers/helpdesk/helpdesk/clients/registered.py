"""Finds what a helpdesk's folder holds, by the helpdesk's name in `HelpdeskName`.

A module is loaded where it is used, so that no start pays for a helpdesk that is not served.
"""

from importlib import import_module
from typing import Any

from helpdesk.clients.settings import HelpdeskSettings


def module_of(helpdesk: str, part: str) -> Any:
    """The `client`, the `callback` or the `settings` of a helpdesk."""
    return import_module(f"helpdesk.clients.{helpdesk}.{part}")


def settings_of(helpdesk: str) -> type[HelpdeskSettings]:
    """The class of its settings: that of acme is `AcmeSettings`."""
    settings: type[HelpdeskSettings] = getattr(
        module_of(helpdesk, "settings"), f"{helpdesk.capitalize()}Settings"
    )
    return settings
