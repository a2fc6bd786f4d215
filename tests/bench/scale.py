"""How this application scales, and what it costs: a simulation of a queue, Lambda's pollers and workers.

`make scale` prints the figures of docs/scale.md. What is assumed stands in this file and nowhere else.
"""

import heapq
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.table import Table

# Five batches at first, up to 300 more a minute while there is a backlog, 1,000 at the most.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
FIRST_POLLERS = 5
POLLERS_A_SECOND = 300 / 60
MOST_POLLERS = 1000
# An account's concurrency unless AWS has raised it: all its functions share it.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ACCOUNT_CONCURRENCY = 1000
# Calls a second to one API destination unless AWS has raised it, and how long it waits for an answer.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
API_DESTINATION_RATE = 300
# Messages of a standard queue that may be received and not deleted yet.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
IN_FLIGHT = 120_000
# An environment that nothing has used for so long is taken to be gone; AWS gives no figure.
IDLE_S = 300.0
# A batch that finds its gate closed: the gate is read, and delays are set in tens.
CLOSED_BATCH_S = 0.1
# Memory in MB for which a function has a whole processor; it has a share for less.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
WHOLE_PROCESSOR_MB = 1769
# What a helpdesk takes for one call, and AWS for another.
HELPDESK_S = 0.2
AWS_S = 0.005

# Dollars for a million, us-east-1, arm64, without free tiers, by the price lists of 2025: look them up again.
PRICES = {
    "SQS call": 0.40,
    "Lambda invocation": 0.20,
    "Lambda GB-second": 13.3334,
    "DynamoDB write": 0.625,
    "DynamoDB read": 0.125,
    "SNS publish": 0.50,
    "log, in kB": 0.50,
    "EventBridge event": 1.00,
    "API destination call": 0.20,
}
MILLION = 1_000_000


@dataclass(frozen=True)
class Worker:
    """What the bench has measured of a worker. Seconds, on a whole processor where it works."""

    name: str
    batch: int
    window_s: float
    # Batches at a time, as the template sets it; None where nothing is set.
    concurrency: int | None
    threads: int
    cold_s: float
    work_s: float
    # AWS calls one after the other: of each batch, and of each request that a thread carries out.
    batch_trips: int
    request_trips: int
    memory_gb: float = 0.5
    # What each request, and each invocation, is billed beside Lambda's time.
    per_request: dict[str, float] = field(default_factory=dict)
    per_invocation: dict[str, float] = field(default_factory=dict)

    def takes(self, requests: int) -> float:
        """Seconds of a warm invocation: waiting is shared by the threads, work is not."""
        waves = math.ceil(requests / self.threads)
        waiting = waves * (HELPDESK_S + self.request_trips * AWS_S) + self.batch_trips * AWS_S
        return waiting + requests * self.work_s * WHOLE_PROCESSOR_MB / (self.memory_gb * 1024)


# SQS: one to send; Lambda receives and deletes in tens. Logs: a line for each request, two for each run.
OURS = Worker(
    "Ticket Bridge",
    batch=25,
    window_s=1,
    concurrency=5,
    threads=25,
    cold_s=0.5,
    work_s=0.003,
    batch_trips=4,
    request_trips=2,
    memory_gb=0.75,
    per_request={"SQS call": 1.2, "DynamoDB write": 2, "SNS publish": 0.1, "log, in kB": 0.5},
    per_invocation={"Lambda invocation": 1, "DynamoDB read": 1, "log, in kB": 0.8},
)
PLAIN = Worker(
    "plain handler",
    batch=10,
    window_s=0,
    concurrency=None,
    threads=1,
    cold_s=1.7,
    work_s=0.0065,
    batch_trips=0,
    request_trips=3,
    per_request={"SQS call": 1.2, "DynamoDB write": 2, "SNS publish": 1, "log, in kB": 0.5},
    per_invocation={"Lambda invocation": 1, "log, in kB": 0.8},
)


@dataclass
class Course:
    """What a simulation has seen."""

    requests: int = 0
    invocations: int = 0
    busy_s: float = 0.0
    most_at_once: int = 0
    ended_at: float = 0.0
    # Of the first and the last of each batch: when it ended, and how long after it was sent.
    waits: list[tuple[float, float]] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Seconds from sending to the outcome that so many requests did not exceed."""
        waited = sorted(seconds for _, seconds in self.waits)
        return waited[min(int(share * len(waited)), len(waited) - 1)]

    def caught_up_at(self, seconds: float) -> float:
        """The last moment at which an outcome came later than that."""
        return max((moment for moment, waited in self.waits if waited > seconds), default=0.0)


def simulate(worker: Worker, rate: float, seconds: float, backlog: int = 0) -> Course:
    """A queue that gets `rate` requests a second, evenly, for so long; `backlog` is there at the start.

    Requests are taken in order, and a poller fills its batch before the next one begins its own.
    """
    total = backlog + int(rate * seconds)
    most = min(worker.concurrency or MOST_POLLERS, MOST_POLLERS, ACCOUNT_CONCURRENCY)
    course = Course()

    def arrival(number: int) -> float:
        return 0.0 if number < backlog else (number - backlog + 1) / rate

    def arrived(moment: float) -> int:
        return min(total, backlog + int(min(moment, seconds) * rate))

    # The times at which environments are free, new ones with a cold start before them.
    free = [(0.0, True)] * min(FIRST_POLLERS, most)
    course.most_at_once = 1
    made, grown_at = len(free), 0.0
    busy: list[float] = []
    while course.requests < total:
        moment, is_cold = heapq.heappop(free)
        more = int((moment - grown_at) * POLLERS_A_SECOND)
        if more and arrived(moment) - course.requests > worker.batch:
            added = min(more, most - made)
            for _ in range(added):
                heapq.heappush(free, (moment, True))
            made, grown_at = made + added, moment
        elif more:
            grown_at = moment
        first = max(moment, arrival(course.requests))
        full_at = max(moment, arrival(min(course.requests + worker.batch, total) - 1))
        begins = min(first + worker.window_s, full_at)
        count = min(worker.batch, max(arrived(begins) - course.requests, 1))
        took = worker.takes(count)
        ends = begins + took + (worker.cold_s if is_cold else 0)
        for number in (course.requests, course.requests + count - 1):
            course.waits.append((ends, ends - arrival(number)))
        course.requests += count
        course.invocations += 1
        course.busy_s += took
        course.ended_at = max(course.ended_at, ends)
        busy = [end for end in busy if end > begins] if len(busy) > 4 * most else busy
        heapq.heappush(busy, ends)
        while busy and busy[0] <= begins:
            heapq.heappop(busy)
        course.most_at_once = max(course.most_at_once, len(busy))
        heapq.heappush(free, (ends, False))
    return course


def cold_starts(worker: Worker, arrivals: Sequence[float]) -> float:
    """How many of a thousand requests' worth of invocations were cold starts; `arrivals` are sorted moments.

    A batch takes the environment that was used last, and a new one where all are busy or gone. Pollers are
    added while messages wait, and taken away when nothing is left.
    """
    most = min(worker.concurrency or MOST_POLLERS, MOST_POLLERS)
    idle: list[float] = []
    busy: list[float] = []
    place = cold = 0
    now, pollers = 0.0, min(FIRST_POLLERS, most)
    while place < len(arrivals):
        now = max(now, arrivals[place])
        while busy and busy[0] <= now:
            idle.append(heapq.heappop(busy))
        if not busy:
            pollers = min(FIRST_POLLERS, most)
        if len(busy) >= pollers:
            added_at = now + 1 / POLLERS_A_SECOND if pollers < most else math.inf
            pollers += added_at < busy[0]
            now = min(added_at, busy[0])
            continue
        last = min(place + worker.batch, len(arrivals)) - 1
        begins = max(now, min(arrivals[last], now + worker.window_s))
        count = bisect_right(arrivals, begins, place, last + 1) - place
        idle = [since for since in idle if begins - since <= IDLE_S]
        is_cold = not idle
        if idle:
            idle.pop()
        cold += is_cold
        heapq.heappush(busy, begins + worker.takes(count) + is_cold * worker.cold_s)
        place += count
    return 1000 * cold / len(arrivals)


def bursts(count: int, each_s: float, hours: int = 6) -> list[float]:
    """So many requests at once, again and again."""
    moments = range(int(hours * 3600 / each_s))
    return [number * each_s for number in moments for _ in range(count)]


@dataclass(frozen=True)
class Drain:
    """Minutes from the end of an outage until half of what waited has ended, until all has; and the longest
    that a new request waits meanwhile."""

    half: float
    all: float
    newest_waits: float


def drain(worker: Worker, waiting: int, rate: float, longest_s: int = 900) -> Drain:
    """How a queue empties in which `waiting` requests have been put back with the longest delay.

    A delay is drawn between half of `longest_s` and eight tenths of it. When the outage ends, some are about
    to come back, and some have only just been put back. What is more than SQS has in flight is visible
    already.
    """
    delayed = min(waiting, IN_FLIGHT)
    in_flight = float(delayed)
    visible = deque([(0, float(waiting - delayed), 0.0)])
    capacity = (worker.concurrency or MOST_POLLERS) * worker.batch / worker.takes(worker.batch)
    least_s, most_s = 0.5 * longest_s, 0.8 * longest_s
    ended, half, newest = 0.0, 0.0, 0.0
    now = 0
    while ended < waiting - 0.5:
        # The share of delays that are longer than the time since.
        longer = max(0.0, min(1.0, (most_s - now - 0.5) / (most_s - least_s)))
        returned = 2 * delayed * longer / (least_s + most_s)
        in_flight -= returned
        came = returned + rate
        visible.append((now, came, rate / came))
        room = min(capacity, IN_FLIGHT - in_flight)
        now += 1
        while room > 1e-9 and visible:
            since, count, share = visible.popleft()
            taken = min(count, room)
            room -= taken
            ended += taken * (1 - share)
            newest = max(newest, (now - 1 - since) if share else 0.0)
            if taken < count:
                visible.appendleft((since, count - taken, share))
        half = half or (now if ended >= waiting / 2 else 0.0)
    return Drain(half / 60, now / 60, newest / 60)


@dataclass(frozen=True)
class Neighbour:
    """How the requests of one helpdesk fare while those of another, which is down, wait in the same queue."""

    in_flight: int
    half_within_s: float
    most_within_s: float


def beside(waiting: int, rate: float = 10, seconds: int = 7200, longest_s: int = 900) -> Neighbour:
    """So many wait for a closed gate, and `rate` requests a second come for the other helpdesk.

    What waits is in flight between two receives, for half of `longest_s` to all of it. Messages are received
    in the order in which they became visible, and none while SQS has as many in flight as it bears.
    """
    # Of each second in which they became visible: how many, and the share that is the other helpdesk's.
    visible = deque([(0, float(waiting), 0.0)])
    returns = [0.0] * (seconds + longest_s + 1)
    in_flight, most = 0.0, 0.0
    waits: list[tuple[float, float]] = []
    for now in range(seconds):
        in_flight -= returns[now]
        came = returns[now] + rate
        visible.append((now, came, rate / came))
        room = min(FIRST_POLLERS * OURS.batch / CLOSED_BATCH_S, IN_FLIGHT - in_flight)
        while room > 0 and visible:
            since, count, share = visible.popleft()
            taken = min(count, room)
            room -= taken
            waits.append((float(now - since), taken * share))
            put_back = taken * (1 - share)
            in_flight += put_back
            for delay in range(longest_s // 2, longest_s):
                returns[now + delay + 1] += put_back / (longest_s - longest_s // 2)
            if taken < count:
                visible.appendleft((since, count - taken, share))
        most = max(most, in_flight)
    return Neighbour(int(most), _within(waits, 0.5), _within(waits, 0.99))


def _within(waits: list[tuple[float, float]], part: float) -> float:
    left = part * sum(count for _, count in waits)
    for seconds, count in sorted(waits):
        left -= count
        if left <= 0:
            return seconds
    return math.inf


def bill(worker: Worker, course: Course) -> dict[str, float]:
    """Dollars for a million requests, line by line."""
    runs = course.invocations / course.requests
    used = dict(worker.per_request)
    for name, amount in worker.per_invocation.items():
        used[name] = used.get(name, 0) + amount * runs
    used["Lambda GB-second"] = course.busy_s / course.requests * worker.memory_gb
    # A gigabyte is a million kilobytes.
    return {name: amount * PRICES[name] for name, amount in used.items()}


def _rates() -> Iterator[tuple[str, Worker, float]]:
    for rate in (1, 100, 200, 10_000):
        yield f"{rate:,}/s, as shipped", OURS, rate
        if rate == 10_000:
            yield "10,000/s, QueueConcurrency 1000", _wider(OURS, 1000), rate
        yield f"{rate:,}/s, plain handler", PLAIN, rate


def _wider(worker: Worker, concurrency: int) -> Worker:
    return replace(worker, concurrency=concurrency)


def main() -> None:
    """Prints the tables."""
    console = Console(width=130)
    load = Table(title=f"ten minutes at a steady rate; a helpdesk call takes {HELPDESK_S:g} s")
    for name in ("", "at once", "p50 s", "p99 s", "waiting at the end", "requests a batch", "$ a million"):
        load.add_column(name, justify="left" if not name else "right")
    for name, worker, rate in _rates():
        seconds = 600 if rate < 10_000 else 120
        course = simulate(worker, rate, seconds)
        late = max(course.ended_at - seconds, 0)
        load.add_row(
            name if seconds == 600 else f"{name} (two minutes)",
            str(course.most_at_once),
            f"{course.percentile(0.5):.2f}",
            f"{course.percentile(0.99):.2f}",
            f"{late:,.0f} s of work" if late > 5 else "none",
            f"{course.requests / course.invocations:.1f}",
            f"{sum(bill(worker, course).values()):.2f}",
        )
    console.print(load)
    costs = Table(title="dollars for a million requests at 100 a second")
    ours, plain = simulate(OURS, 100, 600), simulate(PLAIN, 100, 600)
    lines, of_plain = bill(OURS, ours), bill(PLAIN, plain)
    destination = {
        "EventBridge event": PRICES["EventBridge event"],
        "API destination call": PRICES["API destination call"],
    }
    for name in ("", OURS.name, PLAIN.name, "API destination"):
        costs.add_column(name, justify="left" if not name else "right")
    for line in dict.fromkeys([*lines, *of_plain, *destination]):
        costs.add_row(line, *(f"{bill.get(line, 0):.2f}" for bill in (lines, of_plain, destination)))
    costs.add_row("in all", *(f"{sum(bill.values()):.2f}" for bill in (lines, of_plain, destination)))
    console.print(costs)
    _print_outage(console)
    _print_cold_starts(console)
    neighbours = Table(title="one helpdesk is down, and ten requests a second come for the other")
    for name in ("requests that wait", "in flight", "half within s", "99 % within s"):
        neighbours.add_column(name, justify="right")
    for waiting in (50_000, 100_000, 120_000, 180_000, 500_000, 1_000_000):
        seen = beside(waiting)
        neighbours.add_row(
            f"{waiting:,}", f"{seen.in_flight:,}", f"{seen.half_within_s:,.0f}", f"{seen.most_within_s:,.0f}"
        )
    console.print(neighbours)


def _print_outage(console: Console) -> None:
    after = Table(title="an outage of an hour at 50 a second: 180,000 requests wait, 50 a second still come")
    for name in (
        "",
        "minutes until half have ended",
        "until all have",
        "longest wait of a new request, minutes",
    ):
        after.add_column(name, justify="left" if not name else "right")
    for worker in (OURS, _wider(OURS, 20), _wider(OURS, 100)):
        seen = drain(worker, 180_000, 50)
        after.add_row(
            f"{worker.name}, {worker.concurrency} at once",
            f"{seen.half:.0f}",
            f"{seen.all:.0f}",
            f"{seen.newest_waits:.1f}",
        )
    console.print(after)
    at_once = Table(title="the same, if all came back at once")
    for name in ("", "minutes until none waits", "batches at once"):
        at_once.add_column(name, justify="left" if not name else "right")
    for worker in (OURS, _wider(OURS, 20), PLAIN):
        course = simulate(worker, 50, 1800, backlog=180_000)
        minutes = course.caught_up_at(5) / 60
        at_once.add_row(
            f"{worker.name}, {worker.concurrency or 'no'} limit", f"{minutes:.0f}", str(course.most_at_once)
        )
    spare = API_DESTINATION_RATE - 50
    at_once.add_row("API destination", f"{180_000 / spare / 60:.0f}", "")
    console.print(at_once)


LOADS = {
    "one a second": bursts(1, 1),
    "ten a second": bursts(1, 0.1),
    "25 at once, each ten minutes": bursts(25, 600),
    "500 at once, each ten minutes": bursts(500, 600),
    "5,000 at once, each hour": bursts(5000, 3600),
    "one each ten minutes": bursts(1, 600),
}


def _print_cold_starts(console: Console) -> None:
    starts = Table(title="cold starts for a thousand requests, over six hours")
    for name in ("", OURS.name, PLAIN.name):
        starts.add_column(name, justify="left" if not name else "right")
    for load, arrivals in LOADS.items():
        starts.add_row(load, *(f"{cold_starts(worker, arrivals):,.1f}" for worker in (OURS, PLAIN)))
    console.print(starts)


if __name__ == "__main__":
    main()
