"""The helpdesks of the local stack: how each is simulated, pointed at, and given its credentials."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

from bridge.calls import call
from helpdesk.clients.registered import settings_of
from helpdesk.models import HelpdeskName

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTROL_S = 20.0
# Its secret has the name of a time in which there was no other.
_FIRST = "kapture"


@dataclass(frozen=True)
class Wish:
    """What the user wishes of one helpdesk: another server than the simulator, other credentials.

    `manner` are options with which its simulator behaves as an account did, and `keys` are what the secret
    holds besides for it.
    """

    url: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)
    manner: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalHelpdesk:
    """One helpdesk, and what it is called in the template, in stack.json and in commands."""

    name: str

    @property
    def title(self) -> str:
        """Its name for people. The names of its parameters begin with it."""
        return self.name.capitalize()

    @cached_property
    def credentials(self) -> Mapping[str, str]:
        """The keys of its secret, which are options of its simulator; the values are worth nothing elsewhere.

        The first of them can be changed while the simulator runs.
        """
        return {key: f"local-{key.replace('_', '-')}" for key in settings_of(self.name).secret_keys}

    @property
    def domain(self) -> str | None:
        """The domain in which each account has an address; None where all have the same."""
        fields = settings_of(self.name).model_fields
        return fields["hosts"].default if fields["url"].is_required() else None

    @property
    def url_parameter(self) -> str:
        return f"{self.title}Url"

    @property
    def secret_output(self) -> str:
        """The template's output that names its secret."""
        return "TokenSecretArn" if self.name == _FIRST else f"{self.title}SecretArn"

    @property
    def secret_key(self) -> str:
        """The name of its secret in stack.json."""
        return "token_secret_arn" if self.name == _FIRST else f"{self.name}_secret_arn"

    @property
    def callback_secret(self) -> str:
        """The resource that its callbacks' secret is."""
        return f"{self.title}CallbackSecret"

    @property
    def simulator(self) -> str:
        """Its simulator's name, and that of its log and its ready file."""
        return f"{self.name}-simulator"

    @property
    def module(self) -> str:
        return f"bridge.simulators.{self.name}.account"

    @property
    def url_key(self) -> str:
        """The name of its address in stack.json."""
        return f"{self.name}_url"

    @property
    def secret_shape(self) -> str:
        """What a person puts into its secret, with dots for the values."""
        return json.dumps(dict.fromkeys(self.credentials, "..."))

    def arguments(self, wish: Wish) -> list[str]:
        """The simulator's options for its credentials and its manner."""
        options = {**self.credentials, **wish.credentials, **wish.manner}
        return [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)]

    def control(self, urls: Mapping[str, str], method: str, path: str, content: Any = None) -> Any:
        """A call of its simulator's control interface. Raises RequestException, also where it is refused.

        `urls` are a stack's addresses by helpdesk.
        """
        url = f"{urls[self.name]}/_control/{path}"
        response = call(method, url, json=content, timeout=_CONTROL_S)
        response.raise_for_status()
        return response.json()


HELPDESKS = tuple(LocalHelpdesk(name) for name in get_args(HelpdeskName))
