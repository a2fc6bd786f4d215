"""What the console shows and does, in words and numbers; how it travels to the page is not its concern."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from bridge.console import handling, simulated, trying
from bridge.console.news import LogNews, News, Receipts, Requests, TopicNews
from bridge.console.series import Series
from bridge.errors import BridgeError
from bridge.operating.words import title
from bridge.stacks import queues
from bridge.stacks.alarms import alarms
from bridge.stacks.target import words_of
from helpdesk.errors import HelpdeskError
from helpdesk.store.gate import TOKEN_REFUSED, Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.console.connection import Connected, Connection, ServedHelpdesk
    from bridge.console.handling import Act
    from helpdesk.store.gate import GateState

_MOST_DOUBTS = 50
# A deployed stack's logs and alarms may be read only so often, and each read costs a little.
_EVERY_S = {True: 1.5, False: 5.0}


class Console:
    """One stack as a person sees it. Everything here may block, and raises BridgeError, HelpdeskError or
    what botocore raises.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reaching = threading.Lock()
        # Two looks at a time would make two queues, and the older one might be answered last.
        self._looking = threading.Lock()
        self._connected: Connected | None = None
        self._requests = Requests()
        self._log = LogNews()
        self._receipts = Receipts()
        self._topic: TopicNews | None = None
        self._series = Series()

    # ── what is shown ────────────────────────────────────────────────────────────────────────────────────

    def now(self) -> dict[str, Any]:
        """Everything that changes by itself. What cannot be read is None, and named in `problems`.

        Raises BridgeError where nothing can be read.
        """
        with self._looking:
            return self._now(self._reach())

    def _now(self, on: Connected) -> dict[str, Any]:
        problems: list[str] = []

        def part[T](name: str, read: Callable[[], T], otherwise: T) -> T:
            try:
                return read()
            except (BotoCoreError, ClientError, HelpdeskError, BridgeError) as error:
                problems.append(f"{name}: {words_of(error)}")
                return otherwise

        # Once: what is said of a helpdesk that is not called has the number that stands beside it.
        unknown: dict[str, int] = {}
        counts = part("queues", lambda: self._queues(on), unknown)
        parts: dict[str, tuple[Callable[[], Any], Any]] = {
            "alarms": (lambda: [asdict(alarm) for alarm in alarms(on.target)], None),
            "helpdesks": (lambda: self._helpdesks(on, counts.get("waiting")), None),
            "requests": (lambda: self._take_news(on), None),
        }
        if (local := on.local) is not None:
            parts["simulators"] = (lambda: simulated.as_json(local), None)
        read = {"queues": counts, **{name: part(name, *how) for name, how in parts.items()}}
        if len(problems) == len(read):
            raise BridgeError(f"The stack cannot be reached. {problems[0]}")
        return {
            "stack": on.target.name,
            "is_local": on.local is not None,
            "region": on.target.session.region_name,
            "at": time.time(),
            "every_s": _EVERY_S[on.local is not None],
            "problems": problems,
            **read,
            # What was known before, where nothing new can be read.
            "requests": self._requests.as_json(),
        }

    def series(self) -> dict[str, Any]:
        """The figures of the last hour, minute by minute."""
        return self._series.read(self._reach())

    def choices(self) -> dict[str, Any]:
        """What can be tried and switched; it does not change."""
        local = self._reach().local
        if local is None:
            return {"forms": [], "switches": []}
        return {
            "forms": trying.forms(local.stack.bridge_folder),
            "switches": [{"name": switch.name, "label": switch.label} for switch in simulated.SWITCHES],
        }

    def story(self, request_id: str) -> dict[str, Any]:
        """The story of a request; `at` in seconds since the epoch."""
        return handling.story(self._reach().operations, request_id)

    # ── what is done ─────────────────────────────────────────────────────────────────────────────────────

    def pause(self, helpdesk: str) -> dict[str, Any]:
        """Stop calling a helpdesk; says what holds now."""
        self._gate(helpdesk).pause()
        return {"words": f"{title(helpdesk)} is paused: requests are still accepted, and wait."}

    def resume(self, helpdesk: str) -> dict[str, Any]:
        """Call a helpdesk again; says what holds now."""
        self._gate(helpdesk).resume()
        words = f"{title(helpdesk)} is called again. Waiting requests come back within 15 minutes."
        return {"words": words}

    def handle(self, act: Act) -> dict[str, Any]:
        """What came of an act. The rows of what is sent say so at once, and not how it ended before."""
        began = time.time()
        done = act.on(self._reach().operations)
        for known in done.pop("sent", ()):
            self._note(began, **known)
        return done

    def send(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Put a request into the queue. Raises RejectedError that names every wrong field."""
        on, began = self._reach(), time.time()
        sent = trying.send(on, body)
        self._note(
            began, sent.request_id, helpdesk=sent.helpdesk, operation=sent.operation, source=sent.source
        )
        return {"request_id": sent.request_id, "words": f"Request {sent.request_id} is in the queue."}

    def submit(self, form: str, body: str) -> dict[str, Any]:
        """Send a form's submission to the API of the local stack."""
        on, began = self._reach(), time.time()
        sent = trying.submit(on, form, body)
        if sent.status is None or sent.status >= 400:
            raise BridgeError(f"The submission was answered with {sent.status}: {_problem(sent.answer)}")
        if sent.request_id:
            self._note(began, sent.request_id, source=f"form/{form}")
        return {
            "request_id": sent.request_id,
            "words": f"The submission was answered with {sent.status}; it is request {sent.request_id}.",
        }

    def simulate(self, helpdesk: str, what: str) -> dict[str, Any]:
        """Make a simulated helpdesk fail, or work again; says what holds now."""
        on = self._reach()
        if on.local is None:
            raise BridgeError("Only the simulators of a local stack can be made to fail")
        return {"words": simulated.do(on.local, helpdesk, what)}

    def close(self) -> None:
        """Leaves nothing behind in a stack that goes on."""
        if self._topic is not None:
            # A stack that has gone has taken the queue with it.
            with suppress(BotoCoreError, ClientError):
                self._topic.close()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────

    def _reach(self) -> Connected:
        with self._reaching:
            on = self._connection.connected()
            if on is not self._connected:
                # Another stack than before: what is known is not about it.
                self._connected, self._topic = on, None
                self._requests, self._log, self._series = Requests(), LogNews(), Series()
                self._receipts = Receipts()
        return on

    def _take_news(self, on: Connected) -> None:
        if on.local is not None:
            if self._topic is None:
                self._topic = TopicNews(on.local.aws, on.local.stack.outcomes_topic_arn)
            self._requests.take(self._topic.read())
        self._requests.take(self._log.read(on.target))
        if on.local is None:
            # The log has no ticket's address and no words of the helpdesk. Locally the topic tells them.
            self._requests.take(self._receipts.read(on.operations.ledger, self._requests.latest))

    def _note(self, began: float, request_id: str, **known: str | None) -> None:
        # Its end may be there before the sending returns: the moment of the beginning comes before it.
        self._requests.take([News(began, request_id, "sent", **known)])

    def _gate(self, helpdesk: str) -> Gate:
        on = self._reach()
        if helpdesk not in [served.name for served in on.helpdesks]:
            raise BridgeError(f"{helpdesk} is no helpdesk of {on.target.name}")
        return on.operations.gate(helpdesk)

    @staticmethod
    def _helpdesks(on: Connected, waiting: int | None) -> list[dict[str, Any]]:
        return [_helpdesk(on, served, waiting) for served in on.helpdesks]

    @staticmethod
    def _queues(on: Connected) -> dict[str, int]:
        urls = {"waiting": on.target.requests_queue_url, "parked": on.target.dead_letter_queue_url}
        return {name: queues.count(on.target.sqs, url) for name, url in urls.items()}


def _helpdesk(on: Connected, served: ServedHelpdesk, waiting: int | None) -> dict[str, Any]:
    gate = Gate(on.target.table, served.name, served.budget)
    state = gate.read()
    limit = served.budget.limit
    return {
        "name": served.name,
        "title": served.title,
        "state": _gate_word(state),
        "words": _gate_words(on, served, state, waiting),
        "needs_token": state.closed and state.reason == TOKEN_REFUSED,
        "refused_keys": [name for name, key in sorted(state.refused.items()) if not key.is_replaced],
        "doubts": [doubt.identity.request_id for doubt in on.operations.doubts(served.name, _MOST_DOUBTS)],
        "budget": {
            "limit": limit,
            "period_s": served.budget.period_s,
            "used": round(gate.used(state) * limit),
        },
    }


def _gate_word(state: GateState) -> str:
    if state.paused:
        return "paused"
    if state.closed:
        return "closed"
    return "trial" if state.trial else "open"


def _gate_words(on: Connected, served: ServedHelpdesk, state: GateState, waiting: int | None) -> str:
    """Empty where it is called as usual. The page shows moments in the browser's own zone."""
    if outage := on.operations.outage(served.name, state):
        return outage.sentence(waiting, _iso, is_only=len(on.helpdesks) == 1)
    if state.trial:
        return f"{served.title} answers again. The next request goes first, and the others follow it."
    return ""


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _problem(answer: str) -> str:
    try:
        content = json.loads(answer)
    except ValueError:
        return answer[:300]
    if not isinstance(content, dict):
        return answer[:300]
    errors = [f"{error.get('field')} {error.get('problem')}" for error in content.get("errors", [])]
    return "; ".join(filter(None, (content.get("detail") or content.get("title"), *errors)))
