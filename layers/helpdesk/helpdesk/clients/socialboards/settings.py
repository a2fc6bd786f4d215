"""What can be set for a Socialboards account."""

from typing import Annotated, ClassVar

from pydantic import Field

from helpdesk.clients.settings import READ_JSON, HelpdeskSettings


class SocialboardsSettings(HelpdeskSettings, alias_generator=lambda name: f"SOCIALBOARDS_{name.upper()}"):
    """How to reach one Socialboards account, and the choices that its reference leaves open."""

    secret_keys: ClassVar = ("refresh_token", "client_id")

    hosts: str = "socialboards.com"
    url: str = "https://api.socialboards.com"
    token_path: Annotated[str, Field(pattern=r"^/\S*$")] = "/token"  # noqa: S105  # a path
    # Methods and paths instead of the proposed ones, by name: {"status": "PUT /tickets/{ticket_id}/state"}.
    calls: Annotated[dict[str, str], READ_JSON] = Field(default_factory=dict)
    # Where people see a ticket, with {ticket_id} in it.
    ticket_url: str | None = None
    marker_field: Annotated[
        str, Field(pattern=r"^(details|title|off|extra:[A-Za-z0-9_-]+|custom_field:[0-9]+)$")
    ] = "details"
