"""A deployment in memory: requests come in, functions start, die and come again, until all is quiet."""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bridge.simulators.kapture.account import KaptureSimulator, KaptureSwitches
from bridge.simulators.server import HelpdeskSimulator, ReceivedCall
from bridge.simulators.socialboards.account import SocialboardsSimulator
from bridge.simulators.socialboards.switches import SocialboardsSwitches
from helpdesk.errors import HelpdeskError
from tests.faults.checker.aws import Client, Queue, Secrets, Sns, Sqs
from tests.faults.checker.dynamodb import Table
from tests.faults.checker.functions import CALLBACK_SECRET, Functions, Surroundings
from tests.faults.checker.line import REFUSED, Arrived, Line
from tests.faults.checker.mishaps import Mishaps, Risks
from tests.faults.checker.turns import Process, Turns

HELPDESKS = ("kapture", "socialboards")
# A morning in Kolkata.
START = 1_767_240_000.0
# As in the template.
_TIMEOUTS_S = {"consume": 30.0, "resolve_doubts": 60.0, "watch": 60.0, "callback": 29.0}
_MINUTE_S = 60.0
# After so many of them a doubt is a person's.
MOST_ATTEMPTS = 5
_FIRST_CATEGORY = 90_000


@dataclass(eq=False)
class Asked:
    """A request that was accepted, and what has become of it."""

    name: str
    helpdesk: str
    operation: str
    body: Mapping[str, Any]
    at: float
    number: int
    # Of an update: the title of the ticket that it is meant for.
    target: str = ""
    occurred_at: float | None = None
    has_comment: bool = False
    # Whether the helpdesk refuses it.
    is_bad: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def repeatable(self) -> bool:
        """Whether its call may be made twice."""
        return self.operation == "get" or (self.operation == "update" and not self.has_comment)

    @property
    def was_in_doubt(self) -> bool:
        """Whether it was told that it may have happened."""
        return len(self.finals) < len(self.events)

    @property
    def finals(self) -> list[dict[str, Any]]:
        """What was published of it but that it is in doubt."""
        return [event for event in self.events if event["data"]["outcome"] != "unknown"]


@dataclass(frozen=True)
class State:
    """A ticket's state from a moment on, and the number of what has brought it about."""

    at: float
    ticket_id: str
    number: int


@dataclass(frozen=True)
class Seen:
    """A ticket as it stands at a helpdesk."""

    ticket_id: str
    title: str
    comments: tuple[str, ...]


class World:
    """Everything outside the layer. What a family sets is set before `run`."""

    def __init__(self, seed: str, risks: Risks, *, calm_after_s: float = 1200.0, **variables: str) -> None:
        self.chance = random.Random(seed)
        # The layer's own chance is another, so that a line more in it does not change what befalls it.
        self.turns = Turns(random.Random(f"{seed} turns"), START + self.chance.uniform(0, 86_400))
        self.began_at = self.turns.now
        self.mishaps = Mishaps(
            random.Random(f"{seed} mishaps"), lambda: self.turns.now, risks, self.began_at + calm_after_s
        )
        # Kapture's accounts differ: a generator of its own leaves what else happens as it is.
        self.kapture_shows_comments = random.Random(f"{seed} account").random() < 0.5
        shows = {"KAPTURE_COMMENTS_READABLE": str(self.kapture_shows_comments).lower()}
        self.variables = shows | variables
        self.batch = self.chance.choice((1, 1, 3, 25))
        self.concurrency = self.chance.choice((1, 2, 4))
        self.tick_s = _MINUTE_S
        self.asked: dict[str, Asked] = {}
        self.changes: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        # Everything that a ticket has been, in order.
        self.states: dict[str, list[State]] = defaultdict(list)
        self.arrived: dict[str, list[Arrived]] = defaultdict(list)
        self.broken: list[str] = []
        # Tickets whose every last state must have been told in the end.
        self.watched: list[tuple[str, str]] = []
        # Calls allowed to a helpdesk, and in how many seconds.
        self.most_in_doubt = 1000
        self.soon_s = float("inf")
        self.budgets: dict[str, tuple[int, float]] = {}
        self.may_park: Callable[[Asked, Mapping[str, Any]], bool] = lambda asked, data: (
            data["attempts"] >= MOST_ATTEMPTS or self.hides_comment(asked)
        )
        # Each helpdesk's tickets at the moment at which they were last asked for.
        self._seen: dict[str, tuple[float, list[Seen]]] = {}
        self._minted = 0
        self._running = 0
        self._invocations = 0
        self._ticking = 0
        self._warm: dict[str, list[Functions]] = defaultdict(list)
        self.table = Table(lambda: self.turns.now, lambda: self.mishaps.chance.uniform(0.0, 0.4))
        self.queue = Queue(self.turns, "m")
        self.letters = Queue(self.turns, "d")
        self.queue.changed = lambda moment: self.turns.at(
            moment + self.mishaps.chance.uniform(0, 1), self._poll
        )
        self.secrets = Secrets()
        clock = lambda: self.turns.now  # noqa: E731  # the simulators', the layer's
        kapture = KaptureSimulator(
            token="a-token",
            clock=clock,
            switches=KaptureSwitches(notes_returned=self.kapture_shows_comments),
        )
        socialboards = SocialboardsSimulator(
            token="a-refresh-token",
            client_id="a-client",
            clock=clock,
            switches=SocialboardsSwitches(unknown_ids="taken"),
        )
        self.simulators: dict[str, HelpdeskSimulator[Any]] = {
            "kapture": kapture,
            "socialboards": socialboards,
        }
        self.secrets.put("marker-key", json.dumps({"key": "k" * 40}))
        self.secrets.put("kapture", json.dumps({"token": kapture.token}))
        credentials = {"refresh_token": socialboards.token, "client_id": socialboards.client_id}
        self.secrets.put("socialboards", json.dumps(credentials))
        for name in HELPDESKS:
            self.secrets.put(f"{name}-callback", CALLBACK_SECRET)
        sns = Sns(self._published, lambda: self.mishaps.happens("aws"))
        self._around = Surroundings(
            dynamodb=self._client("dynamodb", self.table),
            sns=self._client("sns", sns),
            sqs=self._client("sqs", Sqs({"requests": self.queue, "dead-letters": self.letters})),
            secretsmanager=self._client("secretsmanager", self.secrets, waits=False),
            lines={
                name: Line(
                    self.turns,
                    self.mishaps,
                    simulator,
                    self._heard,
                    closed_s=self._closed_s,
                    read_timeout_s=15.0,
                )
                for name, simulator in self.simulators.items()
            },
            clock=clock,
            fault=self.broken.append,
        )

    def _client(self, service: str, api: Any, *, waits: bool = True) -> Client:
        return Client(self.turns, self.mishaps, service, api, waits=waits)

    # ── what families do ─────────────────────────────────────────────────────────────────────────────────

    def know_markers(self) -> None:
        """Markers have come back from both helpdesks before."""
        self._invoke("setup", lambda functions, _: functions.know_markers(HELPDESKS))

    def pause(self, helpdesk: str) -> None:
        """An operator closes a gate."""
        self._invoke("setup", lambda functions, _: functions.pause(helpdesk))

    def resume(self, helpdesk: str) -> None:
        """An operator opens a gate again."""
        self._invoke("setup", lambda functions, _: functions.resume(helpdesk))

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Does something so many seconds after the beginning."""
        self.turns.at(self.began_at + seconds, action)

    def add(self, helpdesk: str, after_s: float, **more: Any) -> Asked:
        """An add that is sent so many seconds after the beginning."""
        name = f"add-{len(self.asked)}"
        ticket = {"title": name, **more.pop("ticket", {})}
        return self._ask(helpdesk, "add", name, after_s, {"ticket": ticket, **more})

    def update(
        self,
        helpdesk: str,
        after_s: float,
        target: str,
        *,
        comment: bool = False,
        occurred_at: float | None = None,
        bad: bool = False,
        **more: Any,
    ) -> Asked:
        """An update of the ticket of this title, which `more` names by an id or a reference."""
        number = len(self.asked)
        name = f"update-{number}"
        key = "sub_status" if helpdesk == "kapture" else "queue"
        changes = {key: state_of(helpdesk, number), **more.pop("changes", {})}
        if comment:
            changes["comment"] = f"comment of {name}"
        if bad:
            changes = {"sub_status": REFUSED}
        if occurred_at is not None:
            more["occurred_at"] = datetime.fromtimestamp(occurred_at, UTC).isoformat()
        asked = self._ask(helpdesk, "update", name, after_s, {"changes": changes, **more})
        asked.target, asked.has_comment, asked.is_bad = target, comment, bad
        asked.occurred_at = occurred_at
        return asked

    def get(self, helpdesk: str, after_s: float, ticket_ids: list[str], **more: Any) -> Asked:
        """A get."""
        name = f"get-{len(self.asked)}"
        return self._ask(helpdesk, "get", name, after_s, {"ticket_ids": ticket_ids, **more})

    def _ask(self, helpdesk: str, operation: str, name: str, after_s: float, more: dict[str, Any]) -> Asked:
        body = {"operation": operation, "request_id": name, "helpdesk": helpdesk, "source": "shop", **more}
        asked = Asked(name, helpdesk, operation, body, self.began_at + after_s, len(self.asked))
        self.asked[name] = asked
        self.later(after_s, lambda: self.send(asked))
        return asked

    def send_again(self, asked: Asked, after_s: float) -> None:
        """A producer sends the same request once more, so many seconds after the beginning."""
        self.later(after_s, lambda: self.send(asked))

    def send(self, asked: Asked) -> None:
        """Puts a request into the queue."""
        self.mishaps.tell(f"asked: {json.dumps(asked.body)}")
        self.queue.send_message(QueueUrl="requests", MessageBody=json.dumps(asked.body))

    def make_ticket(self, helpdesk: str, title: str) -> str:
        """A ticket that is there already."""
        path = "/add-ticket-from-other-source.html/v.2.0" if helpdesk == "kapture" else "/tickets"
        answer = self.by_hand(helpdesk, "POST", path, {"title": title})
        return str(answer["ticket_id"] if helpdesk == "kapture" else answer["data"])

    def show_late(self, seconds: float) -> None:
        """Lists leave out what was made in the last so many seconds."""
        for simulator, lag in zip(self.simulators.values(), ("pull_lag_s", "list_lag_s"), strict=True):
            simulator.switches = simulator.switches.model_copy(update={lag: seconds})

    def change_by_hand(self, helpdesk: str, ticket_id: str, number: int) -> None:
        """Somebody at the helpdesk gives a ticket another state."""
        state = state_of(helpdesk, number)
        self.mishaps.tell(f"somebody changes {helpdesk} {ticket_id} to {state}")
        if helpdesk == "kapture":
            self.simulators[helpdesk].change_by_hand(ticket_id, state)
        else:
            self.by_hand(helpdesk, "PATCH", f"/tickets/{ticket_id}/category", {"id": int(state)})
        self.states[helpdesk].append(State(self.turns.now, ticket_id, number))

    def by_hand(self, helpdesk: str, method: str, path: str, body: Any) -> Any:
        """A call of somebody else's."""
        simulator = self.simulators[helpdesk]
        if isinstance(simulator, SocialboardsSimulator):
            self._minted += 1
            token = f"Bearer {simulator.access_tokens.mint(60)}"
        else:
            token = f"Basic {simulator.token}"
        call = ReceivedCall(
            operation=simulator.operation_of(method, path),
            method=method,
            path=path,
            headers={"authorization": token},
            body=json.dumps(body).encode(),
            received_at=self.turns.now,
            origin="https://helpdesk.example",
        )
        return json.loads(simulator.perform(call).body)

    def call_back(self, helpdesk: str, ticket_id: str) -> None:
        """The helpdesk calls back about a ticket, and again later where that was not taken."""
        body = json.dumps({"ticketId": ticket_id} if helpdesk == "kapture" else {"TicketId": int(ticket_id)})

        def called(functions: Functions, ends_at: float) -> None:
            if functions.call_back(helpdesk, body, ends_at) >= 500:
                self.turns.at(self.turns.now + 30, lambda: self.call_back(helpdesk, ticket_id))

        def died() -> None:
            self.turns.at(self.turns.now + 30, lambda: self.call_back(helpdesk, ticket_id))

        self._invoke("callback", called, died)

    def restart(self, **variables: str) -> None:
        """Other settings for all functions that start from now on."""
        self.mishaps.tell(f"deployed anew with {variables}")
        self.variables |= variables
        self._warm.clear()

    # ── what runs by itself ──────────────────────────────────────────────────────────────────────────────

    def tick(self, kind: str, every_s: float, stops_at: float) -> None:
        """Starts a schedule's function again and again."""

        def over() -> None:
            self._ticking -= 1

        def due() -> None:
            if self.turns.now < stops_at:
                self.turns.at(self.turns.now + every_s, due)
            # The schedule may start a second one beside the first.
            for _ in range(1 + self.mishaps.happens("twice")):
                if self._has_work(kind):
                    self._ticking += 1
                    self._invoke(
                        kind, lambda functions, ends_at: getattr(functions, kind)(ends_at), over, over
                    )

        self.turns.at(self.turns.now + self.chance.uniform(0, every_s), due)

    def _has_work(self, kind: str) -> bool:
        """Whether a run would do more than look: most runs would not, and would take most of the time."""
        if kind == "watch":
            return True
        items = self.table.items
        return any(items.get(f"gate#{name}", {}).get("closed") for name in HELPDESKS) or any(
            item.get("attention", {}).get("S") in HELPDESKS for item in items.values()
        )

    def _poll(self) -> None:
        if self._running >= self.concurrency:
            return
        records = self.queue.receive(self.batch, self.mishaps.again_in_s)
        if not records:
            return
        self._running += 1

        def consumed(functions: Functions, ends_at: float) -> None:
            back = set(functions.consume(records, ends_at))
            for record in records:
                if record["messageId"] in back:
                    continue
                if self.mishaps.happens("kept"):
                    self.mishaps.tell(f"{record['messageId']} is not let go")
                else:
                    self.queue.let_go(record["receiptHandle"])

        def over() -> None:
            self._running -= 1
            self._poll()

        self.mishaps.tell(f"received: {' '.join(record['receiptHandle'] for record in records)}")
        self._invoke("consume", consumed, over, over)
        self.turns.at(self.turns.now + self.mishaps.chance.uniform(0, 1), self._poll)

    def _invoke(
        self,
        kind: str,
        run: Callable[[Functions, float], object],
        died: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts a function in a warm process or a new one."""
        self._invocations += 1
        ends_at = self.turns.now + _TIMEOUTS_S.get(kind, 60.0)
        process = Process(f"{kind} {self._invocations}", ends_at)
        if fuse := (None if kind == "setup" else self.mishaps.fuse()):
            process.fuse, process.acts_first = fuse
        warm = self._warm[kind]
        functions = (
            warm.pop() if warm and self.chance.random() < 0.8 else Functions(self._around, self.variables)
        )

        def lives() -> None:
            try:
                run(functions, ends_at)
            except HelpdeskError as error:
                self.mishaps.tell(f"{process.name} fails: {error}")
            except Exception as error:  # noqa: BLE001  # what no function may raise is a promise broken
                self.broken.append(f"{process.name} raises {error!r}")
            process.died = lambda: None
            self._warm[kind].append(functions)
            ended()

        process.died = died
        self.turns.begin(process, lives)

    # ── what is seen ─────────────────────────────────────────────────────────────────────────────────────

    def _published(self, text: str) -> None:
        event = json.loads(text)
        data = event["data"]
        if event["type"] == "ticket.changed":
            self.changes[data["helpdesk"], data["ticket_id"]].append(event)
        elif asked := self.asked.get(data["request_id"]):
            asked.events.append(event | {"at": self.turns.now})
        else:
            self.broken.append(f"an outcome of nobody's request: {data['request_id']}")
        self.mishaps.tell(f"published: {event['type']} {data['request_id']} {data.get('code', '')}")

    def _closed_s(self, helpdesk: str) -> float:
        """For how long the gate has been closed."""
        gate = self.table.items.get(f"gate#{helpdesk}", {})
        return self.turns.now - float(gate["closed_at"]["N"]) if "closed" in gate else 0.0

    def _heard(self, helpdesk: str, call: Arrived) -> None:
        self.arrived[helpdesk].append(call)
        if not call.acted:
            return
        if call.operation == "update":
            sent = call.body[0]
            number = int(sent["sub_status"].removeprefix("S"))
            self.states[helpdesk].append(State(self.turns.now, sent["ticket_id"], number))
        elif call.operation == "set_category":
            ticket_id = call.path.split("/")[2]
            self.states[helpdesk].append(State(self.turns.now, ticket_id, call.body["id"] - _FIRST_CATEGORY))

    # ── until all is quiet ───────────────────────────────────────────────────────────────────────────────

    def run(self, longest_s: float) -> None:
        """Lets everything happen, until nothing is left to do or the time is over."""
        last_asked = max((asked.at for asked in self.asked.values()), default=0.0)

        def is_quiet() -> bool:
            if self.queue.messages or self._running or self._ticking:
                return False
            return self.turns.now > max(last_asked, self.mishaps.calm_at)

        with self.turns.lent():
            self.turns.run_until(self.began_at + longest_s, is_quiet)
            if is_quiet():
                # What was cut off in the middle may go on a little.
                self.turns.run_until(self.turns.now + 400)

    def hides_comment(self, asked: Asked) -> bool:
        """Whether it writes a comment that cannot be looked up."""
        return asked.has_comment and asked.helpdesk == "kapture" and not self.kapture_shows_comments

    def tickets(self, helpdesk: str) -> list[Seen]:
        """Every ticket of a helpdesk."""
        seen_at, seen = self._seen.get(helpdesk, (0.0, []))
        if seen_at != self.turns.now:
            seen = self._tickets_now(helpdesk)
            self._seen[helpdesk] = self.turns.now, seen
        return seen

    def _tickets_now(self, helpdesk: str) -> list[Seen]:
        simulator: Any = self.simulators[helpdesk]
        return [
            Seen(
                str(ticket.ticket_id),
                ticket.title.partition(" [tb-")[0],
                # A note ends with its request's marker.
                tuple(comment.partition("\n")[0] for comment in ticket.comments),
            )
            for ticket in simulator.tickets
        ]


def state_of(helpdesk: str, number: int) -> str:
    """A state that no other request or person gives to a ticket."""
    return f"S{number}" if helpdesk == "kapture" else str(_FIRST_CATEGORY + number)
