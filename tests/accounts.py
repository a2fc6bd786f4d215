"""The helpdesks of the conformance suite and the fault matrix, each described to them in one class."""

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, ClassVar

import pytest

from bridge.generate import sources
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.simulators.server import HelpdeskSimulator
from bridge.simulators.socialboards.account import SocialboardsSimulator
from helpdesk.clients.markers import without_markers
from helpdesk.clients.registered import settings_of
from tests.deployment import Clock, Deployment
from tests.profiles import PROFILES, Profile


@dataclass(frozen=True)
class Seen:
    """A ticket as it is stored at the helpdesk; `state` is what an update's sub_status sets."""

    ticket_id: str
    title: str
    details: str
    email: str
    state: str
    comments: tuple[str, ...]


class Account(ABC):
    """One simulated account, and how it is spoken of; a helpdesk joins as one more subclass of this."""

    name: ClassVar[str]
    # The simulator's names of the calls that add, update without a comment, write a comment, and read one.
    adds: ClassVar[str]
    updates: ClassVar[str]
    comments: ClassVar[str]
    gets: ClassVar[str]
    # The call that lists tickets: by it doubts are looked up, and at some helpdesks several tickets are read.
    lists: ClassVar[str]
    # Whether one call reads many tickets.
    reads_many: ClassVar[bool] = True
    # The account's own address, for which nothing answers in a test.
    address: ClassVar[str]
    # Values of sub_status, the one of a new ticket, and an id that no ticket has.
    states: ClassVar[tuple[str, str]]
    first_state: ClassVar[str]
    unknown_id: ClassVar[str] = "1"
    # A body that says of itself, with status 200, that the request is refused: "no such queue"; and the same
    # in another case, where the helpdesk has one.
    refusal: ClassVar[str]
    refusal_capitalised: ClassVar[str]
    # Whether a comment whose answer was lost can be looked up; where not, it is parked.
    comments_can_be_looked_up: bool
    # A ticket and changes that this helpdesk cannot take, and the fields that must be named.
    bad_ticket: ClassVar[Mapping[str, Any]]
    bad_ticket_fields: ClassVar[set[str]]
    bad_changes: ClassVar[Mapping[str, Any]]
    bad_changes_fields: ClassVar[set[str]]
    # What a ticket and an update take in `extra`, with the text "canary-extra" in it; refused by default.
    extra: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({"unknown": "canary-extra"},) * 2
    # How long it takes until a new ticket shows, or counts as absent; 0 where a test sets it itself.
    settles_after_s: float = 0

    simulator: HelpdeskSimulator[Any]

    @abstractmethod
    def __init__(self, clock: Clock) -> None:
        """A simulator with that clock."""

    @property
    def marker_variable(self) -> str:
        """The variable that names the field of its markers."""
        return str(settings_of(self.name).model_fields["marker_field"].alias)

    def variables(self, url: str, secret_arn: str) -> dict[str, str]:
        """The functions' variables that make them use this account."""
        name = self.name.upper()
        return {f"{name}_URL": url, f"{name}_SECRET_ARN": secret_arn}

    @abstractmethod
    def credentials(self) -> str:
        """What its secret holds, as the account takes it now."""

    @abstractmethod
    def tickets(self) -> list[Seen]:
        """All tickets, oldest first."""

    @abstractmethod
    def change_token(self, token: str) -> None:
        """The account takes another token only, from its next call on."""

    @abstractmethod
    def show_late(self, seconds: float) -> None:
        """From now on new tickets are listed only so much later."""

    @abstractmethod
    def reading(self, *tickets: Seen) -> tuple[str, str]:
        """The answers to a get and to a list that show these tickets; texts stand in them as in JSON."""

    def comment(self, text: str) -> dict[str, Any]:
        """The changes of an update that writes a comment, and what it must have besides."""
        return {"comment": text}

    def hide_markers(self) -> None:
        """From now on no marker comes back."""
        self._switch(marker_returned=False)

    def _switch(self, **switches: Any) -> None:
        self.simulator.switches = self.simulator.switches.model_copy(update=switches)

    @abstractmethod
    def callback(self, ticket_id: str) -> dict[str, Any]:
        """What it calls back with when the ticket has changed; it lies about the state."""

    def mend_token(self, deployment: Deployment) -> None:
        """Puts what the account takes now into the secret."""
        deployment.secrets.put_secret_value(SecretId=self.name, SecretString=self.credentials())

    def calls(self, operation: str) -> int:
        """How often a call was made so far."""
        return [call.operation for call in self.simulator.calls].count(operation)


class KaptureAccount(Account):
    name = "kapture"
    adds = "add"
    updates = comments = "update"
    gets = "get"
    lists = "pull"
    address = "https://acme.kapturecrm.com"
    states = ("PS", "RS")
    first_state = "US"
    refusal = '{"message": "no such queue", "status": "failed"}'
    refusal_capitalised = '{"Message": "no such queue", "Status": "Fail"}'
    comments_can_be_looked_up = False
    bad_ticket: ClassVar = {
        "title": "t",
        "details": "d",
        "extra": {"title": "again", "ticket_details": "too"},
    }
    bad_ticket_fields: ClassVar = {"ticket.extra.title", "ticket.extra.ticket_details"}
    bad_changes: ClassVar = {"comment": "c", "assignee": "somebody"}
    bad_changes_fields: ClassVar = {"changes.sub_status", "changes.assignee"}
    extra = ({"canary_block": {"a": "canary-extra"}}, {"canary_block": {"a": "canary-extra"}})

    def __init__(self, clock: Clock) -> None:
        self.simulator: KaptureSimulator = KaptureSimulator(token="first-token", clock=clock)

    def credentials(self) -> str:
        return json.dumps({"token": self.simulator.token})

    def tickets(self) -> list[Seen]:
        return [
            Seen(
                ticket.ticket_id,
                ticket.title,
                ticket.details,
                ticket.email,
                ticket.sub_status,
                tuple(ticket.comments),
            )
            for ticket in self.simulator.tickets
        ]

    def change_token(self, token: str) -> None:
        self.simulator.token = token

    def show_late(self, seconds: float) -> None:
        self._switch(pull_lag_s=seconds)

    def reading(self, *tickets: Seen) -> tuple[str, str]:
        got = [
            f'{{"task_details": {{"ticketId": "{ticket.ticket_id}", "title": "{ticket.title}"}}}}'
            for ticket in tickets
        ]
        listed = [
            f'{{"ticketId": "{seen.ticket_id}", "taskTitle": "{seen.title}", "detail": "{seen.details}"}}'
            for seen in tickets
        ]
        return f"[{', '.join(got)}]", f'{{"status": "success", "message": [{", ".join(listed)}]}}'

    def comment(self, text: str) -> dict[str, Any]:
        return {"sub_status": self.states[0], "comment": text}

    def callback(self, ticket_id: str) -> dict[str, Any]:
        return {"ticketId": ticket_id, "status": "Pending", "subStatus": "Unattended"}


class AsLearnt(KaptureAccount):
    """An account of Kapture that behaves as one that was learnt, with the settings that follow from it."""

    def __init__(self, profile: Profile, clock: Clock) -> None:
        self.profile = profile
        self.simulator = profile.simulator("first-token", clock)
        self.settles_after_s = float(profile.settings["SettleAfterSeconds"])
        self.comments_can_be_looked_up = profile.settings.get("KaptureCommentsReadable") == "true"

    def variables(self, url: str, secret_arn: str) -> dict[str, str]:
        variable_of = {parameter: variable for variable, parameter in sources.variables().items()}
        settings = {variable_of[name]: value for name, value in self.profile.settings.items()}
        return super().variables(url, secret_arn) | settings

    def credentials(self) -> str:
        return json.dumps({"token": self.simulator.token, **self.simulator.switches.keys})

    def tickets(self) -> list[Seen]:
        """As a person reads them: without markers in titles and comments."""
        return [
            replace(
                ticket,
                title=without_markers(ticket.title).strip(),
                comments=tuple(comment.partition("\n")[0] for comment in ticket.comments),
            )
            for ticket in super().tickets()
        ]

    def change_token(self, token: str) -> None:
        super().change_token(token)
        self._switch(keys={operation: f"{token}-{operation}" for operation in self.simulator.switches.keys})


class SocialboardsAccount(Account):
    name = "socialboards"
    adds = "add"
    updates = "set_status"
    comments = "add_note"
    gets = "get"
    lists = "list"
    address = "https://api.socialboards.com"
    states = ("pending", "completed")
    first_state = "open"
    refusal = '{"data": null, "errorCode": 7, "errorText": "no such queue"}'
    refusal_capitalised = '{"Data": null, "ErrorCode": 7, "ErrorText": "no such queue"}'
    comments_can_be_looked_up = True
    bad_ticket: ClassVar = {
        "title": "t",
        "disposition": "d",
        "queue": "not a number",
        "extra": {"sentiment": "angry", "colour": "red"},
    }
    bad_ticket_fields: ClassVar = {
        "ticket.disposition",
        "ticket.queue",
        "ticket.extra.sentiment",
        "ticket.extra.colour",
    }
    bad_changes: ClassVar = {"disposition": "d", "callback_at": "2030-01-01T09:00:00Z", "extra": {"tag": "x"}}
    bad_changes_fields: ClassVar = {"changes.disposition", "changes.callback_at", "changes.extra.tag"}
    extra = ({"source_name": "canary-extra"}, {"tags": ["canary-extra"]})

    def __init__(self, clock: Clock) -> None:
        self.simulator: SocialboardsSimulator = SocialboardsSimulator(
            token="first-refresh-token", client_id="client-of-the-tests", clock=clock
        )

    def credentials(self) -> str:
        return json.dumps({"refresh_token": self.simulator.token, "client_id": self.simulator.client_id})

    def tickets(self) -> list[Seen]:
        return [
            Seen(
                str(ticket.ticket_id),
                ticket.title or "",
                ticket.details,
                ticket.creator.email or "",
                ticket.status,
                # A note ends with the request's marker.
                tuple(comment.partition("\n")[0] for comment in ticket.comments),
            )
            for ticket in self.simulator.tickets
        ]

    def change_token(self, token: str) -> None:
        self.simulator.token = token
        # Else those that were minted from the old one would go on.
        self.simulator.access_tokens.expire()

    def show_late(self, seconds: float) -> None:
        self._switch(list_lag_s=seconds)

    def reading(self, *tickets: Seen) -> tuple[str, str]:
        shown = [
            f'{{"id": {ticket.ticket_id}, "title": "{ticket.title}", "message": "{ticket.details}"}}'
            for ticket in tickets
        ]
        around = '{"data": %s, "errorCode": -1, "errorText": null}'
        return around % shown[0], around % f"[{', '.join(shown)}]"

    def callback(self, ticket_id: str) -> dict[str, Any]:
        # The vendor's own page of the event (Ticket Status Change).
        event = {"PreviousTicketStatus": "open", "Ticket": {"Id": int(ticket_id), "Status": "solved"}}
        return {
            "CommunityName": "yourCompany",
            "EventType": "ticket_status_change",
            "TicketId": int(ticket_id),
            "Events": [event],
        }


# Each class that stands directly below `Account`, in the order of this file.
ACCOUNTS: tuple[type[Account], ...] = tuple(Account.__subclasses__())


def at(*accounts: type[Account]) -> pytest.MarkDecorator:
    """Runs a test against each of these accounts; its fixture `account` makes them."""
    return pytest.mark.parametrize(
        "account", accounts, indirect=True, ids=[account.name for account in accounts]
    )


def in_each_manner(*, of_learnt: Collection[str] = (), **cases: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Runs a test against each account, and against those of Kapture that were learnt.

    One more argument has `cases` by their names; the learnt accounts run those of `of_learnt` only.
    """
    learnt = {f"kapture-{name}": partial(AsLearnt, profile) for name, profile in PROFILES.items()}
    accounts: dict[str, Any] = {account.name: account for account in ACCOUNTS} | learnt
    if not cases:
        return pytest.mark.parametrize("account", accounts.values(), indirect=True, ids=accounts)
    ((argument, values),) = cases.items()
    pairs = {
        f"{name}-{case}": (account, value)
        for (name, account), (case, value) in product(accounts.items(), values.items())
        if name not in learnt or case in of_learnt
    }
    return pytest.mark.parametrize(("account", argument), pairs.values(), indirect=["account"], ids=pairs)


def deployed(
    monkeypatch: pytest.MonkeyPatch, account: Account, url: str, clock: Clock, **variables: str
) -> Deployment:
    """A deployment that serves this account alone, whose simulator answers at the URL."""
    deployment = Deployment(
        monkeypatch, "https://nobody.invalid", "unused", clock=clock, HELPDESKS=account.name, **variables
    )
    secret = deployment.secrets.create_secret(Name=account.name, SecretString=account.credentials())["ARN"]
    deployment.set(**account.variables(url, secret))
    return deployment


def point_to(deployment: Deployment, account: Account, url: str) -> None:
    """The account is at this URL from now on."""
    secret = deployment.secrets.describe_secret(SecretId=account.name)["ARN"]
    deployment.set(**account.variables(url, secret))
