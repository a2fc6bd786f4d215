"""Compares this application with a plain handler in one run: `make bench`. Prints a table, writes a file.

Only the ratios carry over to another machine. What is timed is timed in turns, and the median is shown.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench import local_stack
from tests.bench.artifacts import (
    ARCHITECTURE,
    FUNCTIONS,
    ROOT,
    SDK_IN_LAYER,
    Artifact,
    build_functions,
    build_layer,
    build_plain,
    zipped,
)
from tests.bench.measure import AWS_LATENCY_S, Run, Scene, Took, scene

LATENCIES_S = (0.02, 0.1, 0.5)
# As many as a batch of ten can use; the shipped default is for batches of 25.
TEN_THREADS = {"THREADS": "10"}
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Row:
    """One line of the table. `limit` is the most that `ratio`, or else `ours`, may be."""

    measure: str
    ours: float
    unit: str
    other: float | None = None
    ratio: float | None = None
    limit: float | None = None

    @property
    def met(self) -> bool | None:
        """None where there is no limit."""
        if self.limit is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.limit


def compared(measure: str, ours: float, unit: str, other: float, limit: float | None = None) -> Row:
    """A row with the ratio of both figures."""
    return Row(measure, ours, unit, other, ours / other, limit)


class Bench:
    """All measures of one run."""

    def __init__(self, place: Scene, ours: Artifact, plain: Sequence[Artifact], rounds: int) -> None:
        self._place = place
        self._ours = ours
        self._plain, self._own_sdk, self._compiled = plain
        here = Path(__file__).parent
        self._bare = Artifact("bare", (here,))
        self._one_call = Artifact("one call", (here, *self._compiled.path))
        self._rounds = rounds
        self.rows: list[Row] = []

    def _in_turns(self, *runs: Callable[[], Run]) -> list[list[Run]]:
        """Each run several times, so that what else this machine does befalls all of them."""
        results: list[list[Run]] = [[] for _ in runs]
        for _ in range(self._rounds):
            for place, run in enumerate(runs):
                results[place].append(run())
        return results

    def _start(self, artifact: Artifact, module: str) -> Callable[[], Run]:
        return lambda: self._place.run(artifact, module)

    def init(self) -> None:
        """Processor time from the start of the process to the end of the handler module's import."""
        handlers = sorted(path.stem for path in FUNCTIONS.glob("*.py"))
        results = self._in_turns(
            self._start(self._bare, "bare"),
            self._start(self._plain, "plain_handler"),
            self._start(self._own_sdk, "plain_handler"),
            self._start(self._compiled, "plain_handler"),
            *(self._start(self._ours, handler) for handler in handlers),
        )
        bare, plain, own_sdk, compiled, *ours = [
            median(run.init.cpu for run in runs) * 1000 for runs in results
        ]
        self.rows.append(Row("init: bare Python", bare, "ms"))
        self.rows.append(Row("init: plain, as built by default", plain, "ms", bare, plain / bare))
        self.rows.append(Row("init: plain, with its own SDK", own_sdk, "ms", bare, own_sdk / bare))
        self.rows.append(Row("init: plain, with bytecode", compiled, "ms", bare, compiled / bare))
        limits = {"ticket_queue": 0.28, "form_intake": 0.20, "ticket_api": 0.28}
        for handler, took, runs in zip(handlers, ours, results[4:], strict=True):
            limit = limits.get(handler)
            self.rows.append(compared(f"init: {handler} to plain by default", took, "ms", plain, limit))
            self.rows.append(
                compared(f"init: {handler} to plain with its own SDK", took, "ms", own_sdk, limit)
            )
            self.rows.append(compared(f"init: {handler} to plain with bytecode", took, "ms", compiled))
            bare_limit = 4.5 if handler == "ticket_queue" else None
            self.rows.append(compared(f"init: {handler} to bare", took, "ms", bare, bare_limit))
            self.rows.append(Row(f"modules loaded: {handler}", runs[0].modules, ""))

    def cold(self) -> None:
        """From the start of a process to the first outcome; the handler's part on the share of 512 MB."""
        self._place.set_latency(0.1)

        def first(run: Run) -> float:
            return (run.init.cpu + run.batches[0].throttled) * 1000

        ours, plain, own_sdk = self._in_turns(
            lambda: self._place.run(self._ours, "ticket_queue", [("add", 1)]),
            lambda: self._place.run(self._plain, "plain_handler", [("add", 1)]),
            lambda: self._place.run(self._own_sdk, "plain_handler", [("add", 1)]),
        )
        took = median(map(first, ours))
        name = "first outcome of a cold start, handler at 512 MB"
        self.rows.append(compared(f"{name}, to plain by default", took, "ms", median(map(first, plain)), 0.3))
        self.rows.append(
            compared(f"{name}, to plain with its own SDK", took, "ms", median(map(first, own_sdk)), 0.3)
        )

    def batches(self) -> None:
        """Ten adds, and a hundred in one event with ten threads, cold and warm."""
        for latency_s in LATENCIES_S:
            self._place.set_latency(latency_s)
            shown = f"{latency_s * 1000:.0f} ms"
            ours, hundred, plain, calls = self._in_turns(
                lambda: self._place.run(self._ours, "ticket_queue", [("add", 10)] * 4, TEN_THREADS),
                lambda: self._place.run(self._ours, "ticket_queue", [("add", 100)] * 2, TEN_THREADS),
                lambda: self._place.run(self._compiled, "plain_handler", [("add", 10)] * 2),
                lambda: self._place.run(self._one_call, "one_call", [("add", 1)] * 4),
            )
            call_s = median(_walls(_at(calls, 1, 2, 3)))
            self.rows.append(Row(f"one helpdesk call at {shown}", call_s * 1000, "ms"))
            gated = latency_s == 0.1
            self._batch_rows(
                f"batch of 10 at {shown}, cold", _at(ours, 0), _at(plain, 0), call_s, 1.5 * gated
            )
            self._batch_rows(
                f"batch of 10 at {shown}, warm", _at(ours, 1, 2, 3), _at(plain, 1), call_s, 1.25 * gated
            )
            sequential = median(_walls(_at(plain, 1))) * 10
            for name, place in (("cold", 0), ("warm", 1)):
                wall = median(_walls(_at(hundred, place)))
                measure = f"100 in tens at {shown}, {name}"
                limit = 1.15 if gated and place else None
                self.rows.append(compared(f"{measure}, to ten calls", wall * 1000, "ms", call_s * 1e4, limit))
                # Ten batches of ten, one after the other: measured ones, added up.
                self.rows.append(compared(f"{measure}, to plain", wall * 1000, "ms", sequential * 1000))
            if gated:
                cpu = median(took.cpu for took in _at(ours, 1, 2, 3)) / 10 * 1000
                of_plain = median(took.cpu for took in _at(plain, 1)) / 10 * 1000
                self.rows.append(compared("processor per request, warm", cpu, "ms", of_plain, 0.5))
                self.rows.append(
                    compared("memory after 40 requests", ours[0].memory_mb, "MB", plain[0].memory_mb)
                )
                self.rows.append(Row("log lines per request", (ours[0].log_lines - 4) / 40, "", limit=2))

    def _batch_rows(
        self, measure: str, ours: Sequence[Took], plain: Sequence[Took], call_s: float, limit: float
    ) -> None:
        wall = median(_walls(ours)) * 1000
        self.rows.append(compared(f"{measure}, to one call", wall, "ms", call_s * 1000, limit or None))
        self.rows.append(compared(f"{measure}, to plain", wall, "ms", median(_walls(plain)) * 1000))

    def calls(self) -> None:
        """Calls to AWS and to the helpdesk: counted, not timed."""
        self._place.set_latency(0.02)
        for name, artifact, module in (
            ("ours", self._ours, "ticket_queue"),
            ("plain", self._compiled, "plain_handler"),
        ):
            self._place.run(artifact, module, [("add", 10)])
            self._place.aws_calls()
            self._place.run(artifact, module, [("add", 10)] * 11)
            calls = self._place.aws_calls()
            # The first batch is the one of a cold start, which reads the secret.
            secrets = sum(count for call, count in calls.items() if call.startswith("secretsmanager"))
            total = (sum(calls.values()) - secrets) / 110
            limit = 2.3 if name == "ours" else None
            self.rows.append(Row(f"AWS calls per succeeded add, {name}", total, "", limit=limit))
            for call, count in sorted(calls.items()):
                if not call.startswith("secretsmanager"):
                    self.rows.append(Row(f"  {call}, {name}", count / 110, ""))
            limit = 0 if name == "ours" else None
            self.rows.append(Row(f"secret reads when warm, {name}", secrets - 1, "", limit=limit))
        self._place.set_latency(0.02)
        self._place.run(self._ours, "ticket_queue", [("get", 25)] * 4)
        self.rows.append(
            Row("helpdesk calls per 100 gets in full batches", len(self._place.helpdesk.calls), "", limit=4)
        )


def _at(runs: Sequence[Run], *places: int) -> list[Took]:
    return [run.batches[place] for run in runs for place in places]


def _walls(took: Sequence[Took]) -> list[float]:
    return [batch.wall for batch in took]


def sizes(layer: Path, functions: Path, plain: Path) -> list[Row]:
    """Of the zip files that are uploaded."""
    without_sdk = len(zipped(layer, SDK_IN_LAYER)) / MEGABYTE
    return [
        Row("layer without the SDK, zipped", without_sdk, "MB", limit=5),
        Row("layer, zipped", len(zipped(layer)) / MEGABYTE, "MB"),
        Row("functions, zipped", len(zipped(functions)) / MEGABYTE, "MB"),
        Row("plain handler by default, zipped", len(zipped(plain)) / MEGABYTE, "MB"),
    ]


def shown(rows: Sequence[Row]) -> Table:
    """The table for people."""
    table = Table(title="Ticket Bridge beside a plain handler; AWS answers in 5 ms")
    table.add_column("measure")
    for name in ("ours", "against", "ratio", "limit", "met"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.measure,
            f"{row.ours:,.2f} {row.unit}" if row.unit != "ms" else f"{row.ours:,.0f} ms",
            "" if row.other is None else f"{row.other:,.0f} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.limit is None else f"{row.limit:g}",
            "" if row.met is None else ("yes" if row.met else "[bold red]no[/]"),
        )
    return table


def main() -> None:
    """Builds, measures, prints."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="how often each timed run is made")
    options.add_argument("--no-stack", action="store_true", help="leave the local stack out")
    options.add_argument("--output", type=Path, default=ROOT / ".bridge" / "bench.json")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        functions, layer = build_functions(folder / "functions"), build_layer(folder / "layer")
        plain = build_plain(folder / "plain")
        rows = sizes(layer, functions, plain[0].path[0])
        with scene(folder) as place:
            place.trust(folder)
            ours = Artifact("ticket bridge", (functions, layer / "python"))
            bench = Bench(place, ours, plain, arguments.rounds)
            for measure in (bench.init, bench.cold, bench.batches, bench.calls):
                measure()
            rows = [*bench.rows, *rows]
    if not arguments.no_stack:
        passed = local_stack.measure()
        rows += [
            Row("local stack: adds a second", passed.rate, ""),
            Row("local stack: half of 500 at once within", passed.p50_s * 1000, "ms"),
            Row("local stack: 99 % of 500 at once within", passed.p99_s * 1000, "ms"),
        ]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figures = [asdict(row) | {"met": row.met} for row in rows]
    about = {"architecture": ARCHITECTURE, "aws_latency_s": AWS_LATENCY_S, "rounds": arguments.rounds}
    arguments.output.write_text(json.dumps(about | {"rows": figures}, indent=1))
    Console(width=120).print(shown(rows))


if __name__ == "__main__":
    main()
