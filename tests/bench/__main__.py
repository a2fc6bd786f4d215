"""Compares this application with a plain handler in one run: `make bench`. Prints a table, writes a file.

Only the ratios carry over to another machine. What is timed is timed in turns, and the median is shown.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from bridge.generate.form_files import compile_all
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
from tests.bench.measure import AWS_LATENCY_S, Run, Scene, scene

LATENCIES_S = (0.02, 0.1, 0.5)
# As the template ships it.
SHIPPED_BATCH = 25
MEGABYTE = 1_000_000
# Of a start to plain with its own SDK, with the runtime's, with bytecode; to bare, and to bare with a bundle.
AIMS: dict[str, Sequence[float | None]] = {
    "ticket_queue": (0.23, 0.29, 0.55, None, 3.2),
    "ticket_api": (0.23, 0.29, 0.55, None, None),
    "form_intake": (0.20, 0.27, None, None, None),
}


@dataclass(frozen=True)
class Row:
    """One line of the table. `limit` is the most that `ratio`, or else `ours`, may be.

    `spread` holds the quartiles over the rounds, of the ratio or else of `ours`.
    """

    measure: str
    ours: float
    unit: str
    other: float | None = None
    ratio: float | None = None
    limit: float | None = None
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """None where there is no limit."""
        if self.limit is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.limit


def timed(measure: str, rounds: Sequence[float]) -> Row:
    """A row of the milliseconds that each round took."""
    return Row(measure, median(rounds), "ms", spread=_spread(rounds))


def compared(
    measure: str,
    ours: Sequence[float],
    other: Sequence[float],
    limit: float | None = None,
    unit: str = "ms",
) -> Row:
    """A row with the ratio of both, each measured once a round."""
    ratios = [our / their for our, their in zip(ours, other, strict=True)]
    of_ours, of_other = median(ours), median(other)
    return Row(measure, of_ours, unit, of_other, of_ours / of_other, limit, _spread(ratios))


def _spread(rounds: Sequence[float]) -> tuple[float, float] | None:
    if len(rounds) < 2:
        return None
    lower, _, upper = quantiles(rounds, n=4, method="inclusive")
    return lower, upper


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
            self._start(self._bare, "bare_with_bundle"),
            self._start(self._plain, "plain_handler"),
            self._start(self._own_sdk, "plain_handler"),
            self._start(self._compiled, "plain_handler"),
            *(self._start(self._ours, handler) for handler in handlers),
        )
        bare, bundle, plain, own_sdk, compiled, *ours = [
            [run.init.cpu * 1000 for run in runs] for runs in results
        ]
        against = {
            "plain with its own SDK": own_sdk,
            "plain with the runtime's SDK": plain,
            "plain with bytecode": compiled,
            "bare Python": bare,
            "bare Python with a CA bundle": bundle,
        }
        self.rows.append(timed("init: bare Python", bare))
        self.rows += [
            compared(f"init: {name}, to bare", took, bare)
            for name, took in against.items()
            if took is not bare
        ]
        for handler, took, runs in zip(handlers, ours, results[5:], strict=True):
            for (name, other), limit in zip(against.items(), AIMS.get(handler, [None] * 5), strict=True):
                self.rows.append(compared(f"init: {handler} to {name}", took, other, limit))
            self.rows.append(Row(f"modules loaded: {handler}", runs[0].modules, ""))

    def cold(self) -> None:
        """From the start of a process to the first outcome; the handler's part on the share of 512 MB."""
        self._place.set_latency(0.1)
        runs = self._in_turns(
            lambda: self._place.run(self._ours, "ticket_queue", [("add", 1)]),
            *(
                partial(self._place.run, artifact, "plain_handler", [("add", 1)])
                for artifact in (self._own_sdk, self._plain, self._compiled)
            ),
        )
        ours, *others = [[(run.init.cpu + run.batches[0].throttled) * 1000 for run in each] for each in runs]
        names = ("its own SDK", "the runtime's SDK", "bytecode")
        for name, other, limit in zip(names, others, (0.27, 0.32, None), strict=True):
            measure = f"first outcome of a cold start, handler at 512 MB, to plain with {name}"
            self.rows.append(compared(measure, ours, other, limit))

    def batches(self) -> None:
        """A lone request, ten, and a full batch, with the shipped threads, cold and warm."""
        for latency_s in LATENCIES_S:
            self._place.set_latency(latency_s)
            runs = self._in_turns(
                lambda: self._place.run(self._one_call, "one_call", [("add", 1)] * 4),
                lambda: self._place.run(self._ours, "ticket_queue", [("add", 1)] * 4),
                lambda: self._place.run(self._ours, "ticket_queue", [("add", 10)] * 4),
                lambda: self._place.run(self._ours, "ticket_queue", [("add", SHIPPED_BATCH)] * 4),
                lambda: self._place.run(self._compiled, "plain_handler", [("add", 10)] * 2),
            )
            self._batch_rows(f"{latency_s * 1000:.0f} ms", latency_s == 0.1, *runs)
            if latency_s == 0.1:
                self._work_rows(runs[2], runs[4])

    def _batch_rows(
        self,
        latency: str,
        has_aims: bool,
        calls: Sequence[Run],
        lone: Sequence[Run],
        ten: Sequence[Run],
        full: Sequence[Run],
        plain: Sequence[Run],
    ) -> None:
        call = _walls(calls, 1, 2, 3)
        self.rows.append(timed(f"one helpdesk call at {latency}", call))
        for name, runs, aim in (
            ("a lone request", lone, None),
            ("ten", ten, None),
            ("25 as shipped", full, 1.8),
        ):
            self.rows.append(compared(f"{name} at {latency}, cold, to one call", _walls(runs, 0), call))
            warm, limit = _walls(runs, 1, 2, 3), aim if has_aims else None
            self.rows.append(compared(f"{name} at {latency}, warm, to one call", warm, call, limit))
        limit = 1.15 if has_aims else None
        of_ten = _walls(ten, 1, 2, 3)
        self.rows += [
            compared(f"ten at {latency}, warm, to our lone request", of_ten, _walls(lone, 1, 2, 3), limit),
            compared(f"ten at {latency}, cold, to plain", _walls(ten, 0), _walls(plain, 0)),
            compared(f"ten at {latency}, warm, to plain", of_ten, _walls(plain, 1)),
        ]

    def _work_rows(self, ours: Sequence[Run], plain: Sequence[Run]) -> None:
        cpu, of_plain = (
            [median(run.batches[place].cpu for place in places) * 100 for run in runs]
            for runs, places in ((ours, (1, 2, 3)), (plain, (1,)))
        )
        memory, memory_of_plain = ([run.memory_mb for run in runs] for runs in (ours, plain))
        self.rows += [
            compared("processor per request, warm", cpu, of_plain, 0.5),
            compared("memory after 40 requests", memory, memory_of_plain, unit="MB"),
            Row("log lines per request", (ours[0].log_lines - 4) / 40, "", limit=2),
        ]

    def calls(self) -> None:
        """Calls to AWS and to the helpdesk: counted, not timed."""
        self._place.set_latency(0.02)
        for name, artifact, module in (
            ("ours", self._ours, "ticket_queue"),
            ("plain", self._compiled, "plain_handler"),
        ):
            self._place.aws_calls()
            self._place.run(artifact, module, [("add", 10)])
            cold = self._place.aws_calls()
            self._place.run(artifact, module, [("add", 10)] * 11)
            # What ten warm batches add to the one of a cold start, which reads secrets.
            calls = {call: count - cold[call] for call, count in self._place.aws_calls().items()}
            secrets = sum(count for call, count in calls.items() if call.startswith("secretsmanager"))
            total = (sum(calls.values()) - secrets) / 100
            limit = 2.3 if name == "ours" else None
            self.rows.append(Row(f"AWS calls per succeeded add, warm, {name}", total, "", limit=limit))
            for call, count in sorted(calls.items()):
                if not call.startswith("secretsmanager"):
                    self.rows.append(Row(f"  {call}, {name}", count / 100, ""))
            limit = 0 if name == "ours" else None
            self.rows.append(Row(f"secret reads when warm, {name}", secrets, "", limit=limit))
        self._place.set_latency(0.02)
        self._place.run(self._ours, "ticket_queue", [("get", 25)] * 4)
        self.rows.append(
            Row("helpdesk calls per 100 gets in full batches", len(self._place.helpdesk.calls), "", limit=4)
        )


def _walls(runs: Sequence[Run], *places: int) -> list[float]:
    """Of each round, the median of these batches in milliseconds."""
    return [median(run.batches[place].wall for place in places) * 1000 for run in runs]


def sizes(layer: Path, functions: Path, plain: Path) -> list[Row]:
    """Of the zip files that are uploaded."""
    without_sdk = len(zipped(layer, SDK_IN_LAYER)) / MEGABYTE
    return [
        Row("layer without the SDK, zipped", without_sdk, "MB", limit=4.8),
        Row("layer, zipped", len(zipped(layer)) / MEGABYTE, "MB"),
        Row("functions, zipped", len(zipped(functions)) / MEGABYTE, "MB"),
        Row("plain handler by default, zipped", len(zipped(plain)) / MEGABYTE, "MB"),
    ]


def shown(rows: Sequence[Row]) -> Table:
    """The table for people."""
    table = Table(title="Ticket Bridge beside a plain handler; AWS answers in 5 ms")
    table.add_column("measure")
    for name in ("ours", "against", "ratio", "half of the rounds", "aim", "met"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.measure,
            f"{row.ours:,.2f} {row.unit}" if row.unit != "ms" else f"{row.ours:,.0f} ms",
            "" if row.other is None else f"{row.other:,.0f} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.spread is None else f"{row.spread[0]:,.2f}-{row.spread[1]:,.2f}",
            "" if row.limit is None else f"{row.limit:g}",
            "" if row.met is None else ("yes" if row.met else "[bold red]no[/]"),
        )
    return table


def main() -> None:
    """Builds, measures, prints."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15, help="how often each timed run is made")
    options.add_argument("--no-stack", action="store_true", help="leave the local stack out")
    options.add_argument("--output", type=Path, default=ROOT / ".bridge" / "bench.json")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        functions, layer = build_functions(folder / "functions"), build_layer(folder / "layer")
        (functions / "forms.json").write_text(compile_all(ROOT / "examples" / "forms"))
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
