"""A deployment, a helpdesk and a clock, and what a test wants to know of them."""

from collections import defaultdict
from typing import Any

from bridge.simulators.server import HelpdeskSimulator
from tests.accounts import Account, Seen, point_to
from tests.deployment import Clock, Deployment

# Longer than a probe, a doubt's wait or a lease takes.
ROUND_S = 75


def add(name: str, **more: Any) -> dict[str, Any]:
    """A request whose id is also its ticket's title."""
    return {"operation": "add", "request_id": name, "ticket": {"title": name}} | more


def get(name: str, *ticket_ids: str) -> dict[str, Any]:
    """A request for tickets."""
    return {"operation": "get", "request_id": name, "ticket_ids": list(ticket_ids)}


class Scene:
    """What a test acts on. `published` and `letters` hold all that was seen so far, oldest first."""

    def __init__(self, deployment: Deployment, account: Account, url: str, clock: Clock) -> None:
        self.deployment = deployment
        self.account = account
        self.url = url
        self.clock = clock
        self.published: list[dict[str, Any]] = []
        self.letters: list[dict[str, Any]] = []
        # Whether all that was published has been read.
        self.is_read = False

    @property
    def helpdesk(self) -> HelpdeskSimulator[Any]:
        """The account's simulator."""
        return self.account.simulator

    def update(self, name: str, ticket_id: str | None, **more: Any) -> dict[str, Any]:
        """A request that may be repeated, unless `more` brings changes that may not."""
        changes = {"sub_status": self.account.states[0]}
        return {"operation": "update", "request_id": name, "ticket_id": ticket_id, "changes": changes} | more

    def point_to(self, url: str) -> None:
        """The functions' helpdesk is at this URL from now on."""
        point_to(self.deployment, self.account, url)

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────

    def make(self, *names: str) -> list[str]:
        """Adds tickets before the test's own story begins, and returns their ids."""
        self.deployment.send(*(add(name) for name in names))
        assert self.consume() == []
        return [self.ticket(name).ticket_id for name in names]

    def consume(self, records: list[dict[str, Any]] | None = None) -> list[str]:
        """Gives the queue's handler one batch, and returns the ids of the records that it gives back."""
        self.is_read = False
        return self.deployment.consume(records)

    def one_round(self) -> None:
        """Lets some time pass, runs the schedule once, and gives all that waits to the queue's handler."""
        self.clock.let_pass(ROUND_S)
        self.deployment.resolve_doubts()
        self.deployment.show_all()
        self.consume_all()

    def consume_all(self) -> None:
        """Gives the queue's handler all that can be received."""
        while records := self.deployment.receive():
            self.consume(records)

    def until_quiet(self, rounds: int = 12) -> None:
        """Delivers until nothing is left in the queue, through so many rounds at the most."""
        self.consume_all()
        for _ in range(rounds):
            if not self.deployment.waiting():
                return
            self.one_round()
        assert self.deployment.waiting() == 0, "requests are still waiting"

    # ── what can be seen ─────────────────────────────────────────────────────────────────────────────────

    def events(self, name: str) -> list[dict[str, Any]]:
        """What was published of a request, oldest first."""
        self._read()
        return [event for event in self.published if event["data"]["request_id"] == name]

    def types(self, name: str) -> list[str]:
        """The types of the events of a request, oldest first; repeats of one event count once."""
        return list({event["id"]: event["type"] for event in self.events(name)}.values())

    def parked(self, name: str) -> list[str]:
        """The codes of a request's copies in the dead-letter queue."""
        self._read()
        return [letter["code"] for letter in self.letters if letter["request_id"] == name]

    def _read(self) -> None:
        if not self.is_read:
            self.published += self.deployment.outcomes()
            self.letters += self.deployment.dead_letters()
            self.is_read = True

    def tickets(self, title: str) -> list[Seen]:
        """The helpdesk's tickets of this title."""
        return [ticket for ticket in self.account.tickets() if ticket.title == title]

    def ticket(self, title: str) -> Seen:
        """The helpdesk's one ticket of this title."""
        [ticket] = self.tickets(title)
        return ticket

    def calls(self, operation: str) -> int:
        """How often the helpdesk was asked so far."""
        return self.account.calls(operation)

    def titles(self) -> dict[str, int]:
        """How many tickets there are of each title."""
        counts: dict[str, int] = defaultdict(int)
        for ticket in self.account.tickets():
            counts[ticket.title] += 1
        return dict(counts)
