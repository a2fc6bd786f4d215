"""What becomes of requests as it happens: read from the functions' logs, and locally from the topic as well.

The logs hold every step of every request and take no more than the right to read them: on a deployed stack
nothing is made, subscribed or left behind. The ledger could not be listed cheaply, for it has no order. But
of a request that is known to have ended it gives what the logs may not hold, for a read unit.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bridge.operating.log_lines import events_in, log_line
from bridge.stacks.queues import TopicQueue
from bridge.stacks.target import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.aws import AwsClients
    from bridge.stacks.target import Target
    from helpdesk.store.ledger import Ledger, Receipt

# How far back the first read goes, and how much later than others a line may come.
_FIRST_READ_S = 900.0
_LATE_S = 30.0
_PAGES = 3
_ROUNDS = 20
_KEPT = 100
_MESSAGES = ("request accepted", "submission accepted", "request waits", "request ended", "doubt looked up")
_PATTERN = "{ " + " || ".join(f'$.message = "{words}"' for words in _MESSAGES) + " }"
_FINAL = ("succeeded", "rejected", "parked")
# Between the log's line and the event of one end; a redrive takes longer, for it goes through the queue.
_SAME_END_S = 1.0
_OF_A_REQUEST = ("helpdesk", "operation", "source", "ticket_id", "ticket_url")
_SETTLED = {"found": "succeeded", "absent": "waits", "parked": "parked"}


@dataclass(frozen=True)
class News:
    """One step of a request: `at` is in seconds since the epoch, `state` what the request is since then."""

    at: float
    request_id: str
    state: str
    helpdesk: str | None = None
    operation: str | None = None
    source: str | None = None
    ticket_id: str | None = None
    ticket_url: str | None = None
    code: str | None = None
    message: str | None = None


class LogNews:
    """Reads what is new in the functions' logs."""

    def __init__(self) -> None:
        self._since = time.time() - _FIRST_READ_S

    def read(self, target: Target) -> list[News]:
        """New steps, and some that were read before. Raises what botocore raises."""
        began = time.time()
        steps: list[News] = []
        for function in FUNCTIONS:
            # A very busy stack is shown in part rather than late.
            events = events_in(target, function, self._since, most_pages=_PAGES, filterPattern=_PATTERN)
            steps += [news for event in events for news in _logged(event)]
        self._since = began - _LATE_S
        return steps


class TopicNews:
    """Reads the outcomes that a local stack publishes, from a queue that only this console reads."""

    def __init__(self, aws: AwsClients, topic_arn: str) -> None:
        self._queue = TopicQueue(aws, topic_arn, "console")

    def read(self) -> Iterator[News]:
        """Outcomes since the last read. Raises what botocore raises."""
        for _ in range(_ROUNDS):
            bodies = self._queue.take()
            if not bodies:
                return
            for body in bodies:
                yield from published(body)

    def close(self) -> None:
        self._queue.close()


class Receipts:
    """Reads how requests ended from the ledger, once for each end."""

    def __init__(self) -> None:
        self._read: set[tuple[str, float]] = set()

    def read(self, ledger: Ledger, known: Iterable[News]) -> list[News]:
        """The ends among what is known, with address and message of each. Raises UnavailableError."""
        # The ledger keeps nothing of a get.
        ends = [news for news in known if news.state in _FINAL and news.operation != "get"]
        new = [news for news in ends if (news.request_id, news.at) not in self._read]
        receipts = ledger.receipts([news.request_id for news in new]) if new else {}
        self._read = {(news.request_id, news.at) for news in ends}
        return [_with_receipt(news, receipts.get(news.request_id)) for news in new]


def _with_receipt(news: News, receipt: Receipt | None) -> News:
    outcome = receipt.outcome if receipt else None
    if outcome is None or outcome.kind != news.state:
        # It has been sent again since, or this was another request with its id.
        return news
    problems = [f"{problem.field}: {problem.problem}" for problem in outcome.problems]
    return replace(news, ticket_url=outcome.ticket_url, message=_sentence(outcome.message, problems))


def _sentence(message: str | None, problems: Iterable[str]) -> str | None:
    return "; ".join(filter(None, (message, *problems))) or None


class Requests:
    """The latest requests, each as its latest step has left it. Taking a step twice changes nothing."""

    def __init__(self) -> None:
        self._known: dict[str, News] = {}
        self._taking = threading.Lock()

    def take(self, news: Iterable[News]) -> None:
        steps = list(news)
        with self._taking:
            known = dict(self._known)
            for step in steps:
                before = known.get(step.request_id)
                known[step.request_id] = _joined(before, step) if before else step
            latest = sorted(known.values(), key=lambda step: -step.at)[:_KEPT]
            self._known = {step.request_id: step for step in latest}

    @property
    def latest(self) -> list[News]:
        """The latest step of each, the latest first."""
        return list(self._known.values())

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(step) for step in self.latest]


def _joined(known: News, step: News) -> News:
    older, newer = sorted((known, step), key=lambda news: (news.at, news.state in _FINAL))
    is_same = older.state == newer.state
    names = (*_OF_A_REQUEST, "code", "message") if is_same else _OF_A_REQUEST
    lacking: dict[str, Any] = {name: getattr(older, name) for name in names if getattr(newer, name) is None}
    # The log and the topic give different details of the same end, and its first moment stands. What ends so
    # once more, after a redrive, is news.
    is_same_end = is_same and newer.state in _FINAL and newer.at - older.at < _SAME_END_S
    return replace(newer, **lacking, at=older.at if is_same_end else newer.at)


def _logged(event: Any) -> Iterator[News]:
    line = log_line(event)
    if line is None:
        return
    state = {
        "request accepted": "accepted",
        "submission accepted": "accepted",
        "request waits": "waits",
        "request ended": line.fields.get("outcome"),
        "doubt looked up": _SETTLED.get(str(line.fields.get("settled"))),
    }.get(line.message)
    if state is None:
        return
    names = ("helpdesk", "operation", "source", "ticket_id", "code")
    yield News(line.at, line.request_id, state, **{name: line.fields.get(name) for name in names})


def published(body: str) -> Iterator[News]:
    """The news in what was published to the topic, if it is an outcome."""
    try:
        event = json.loads(body)
        content = event["data"]
        at, request_id = datetime.fromisoformat(event["time"]).timestamp(), content["request_id"]
    except (ValueError, KeyError, TypeError):
        # Something else that somebody has published.
        return
    changed = event.get("type") == "ticket.changed"
    errors = [f"{error.get('field')}: {error.get('problem')}" for error in content.get("errors", [])]
    names = (*_OF_A_REQUEST, "code")
    yield News(
        at,
        request_id,
        "changed" if changed else content.get("outcome", ""),
        **{name: content.get(name) for name in names},
        message=_sentence(content.get("message"), errors),
    )
