"""The helpdesks of the local stack: how each is simulated, pointed at, and given its credentials."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.local.state import Stack

type Ticket = Mapping[str, Any]

_CONTROL_S = 5.0


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
    """One helpdesk. Its `credentials` are the keys of its secret and options of its simulator.

    The first of them can be changed while the simulator runs. The values here are worth nothing elsewhere.
    """

    name: str
    title: str
    credentials: Mapping[str, str]
    # Names in the template, and the name of the secret of its credentials in stack.json.
    url_parameter: str
    secret_output: str
    secret_key: str
    callback_secret: str
    # Where a callback brings its secret; None for the path.
    callback_header: str | None
    # A simulator's ticket as the demo shows it: e-mail and state.
    shown: Callable[[Ticket], tuple[str, str]]

    @property
    def simulator(self) -> str:
        """Its simulator's name, and that of its log and its ready file."""
        return f"{self.name}-simulator"

    @property
    def module(self) -> str:
        """What Python runs as its simulator."""
        return f"bridge.simulators.{self.name}.account"

    @property
    def url_key(self) -> str:
        """Its address in stack.json."""
        return f"{self.name}_url"

    @property
    def secret_shape(self) -> str:
        """What a person puts into its secret, with dots for the values."""
        return json.dumps(dict.fromkeys(self.credentials, "..."))

    def arguments(self, wish: Wish) -> list[str]:
        """The simulator's options for its credentials and its manner."""
        options = {**self.credentials, **wish.credentials, **wish.manner}
        return [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)]

    def url_in(self, stack: Stack) -> str:
        """Where it answers."""
        return str(asdict(stack)[self.url_key])

    def control(self, stack: Stack, method: str, path: str, content: Any = None) -> Any:
        """A call of its simulator's control interface. Raises RequestException, also where it is refused."""
        with requests.Session() as session:
            # Neither a proxy nor a .netrc of the user's.
            session.trust_env = False
            response = session.request(
                method, f"{self.url_in(stack)}/_control/{path}", json=content, timeout=_CONTROL_S
            )
        response.raise_for_status()
        return response.json()

    def secret_in(self, stack: Stack) -> str:
        """The ARN of the secret that holds its credentials."""
        return str(asdict(stack)[self.secret_key])


def _kapture_row(ticket: Ticket) -> tuple[str, str]:
    return ticket["email"], ticket["sub_status"]


def _socialboards_row(ticket: Ticket) -> tuple[str, str]:
    return ticket["creator"]["email"] or "", ticket["status"]


HELPDESKS = (
    LocalHelpdesk(
        name="kapture",
        title="Kapture",
        credentials={"token": "local-token"},
        url_parameter="KaptureUrl",
        secret_output="TokenSecretArn",  # noqa: S106 - a name
        secret_key="token_secret_arn",  # noqa: S106 - a name
        callback_secret="KaptureCallbackSecret",  # noqa: S106 - a name
        callback_header="x-callback-secret",
        shown=_kapture_row,
    ),
    LocalHelpdesk(
        name="socialboards",
        title="Socialboards",
        credentials={"refresh_token": "local-refresh-token", "client_id": "local-client"},
        url_parameter="SocialboardsUrl",
        secret_output="SocialboardsSecretArn",  # noqa: S106 - a name
        secret_key="socialboards_secret_arn",  # noqa: S106 - a name
        callback_secret="SocialboardsCallbackSecret",  # noqa: S106 - a name
        # Nothing says that its webhooks could bring a header.
        callback_header=None,
        shown=_socialboards_row,
    ),
)
