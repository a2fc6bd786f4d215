"""What every helpdesk simulator shares: its log of calls, its control interface, and ways to run it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import RootModel

from bridge.local.loopback import guarded_here
from bridge.local.state import write_json
from bridge.simulators.faults import Answer, ControlError, FaultScript, Posted, deliver, posted

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from aiohttp.typedefs import Handler

LOOPBACK = "127.0.0.1"
OTHER = "other"
"""The operation of a call that is none of the helpdesk's own."""

_MAX_BODY_BYTES = 64 * 1024 * 1024
# Calls that still suffer a delay when the server stops are cut off, not waited for.
_SHUTDOWN_SECONDS = 0.1
_START_SECONDS = 60


@dataclass(kw_only=True)
class ReceivedCall:
    """One API call as it arrived. `status` is None while it is unanswered, and stays so after a reset."""

    operation: str
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    received_at: float
    """Monotonic seconds."""
    origin: str
    """Scheme, host and port the caller used."""
    status: int | None = None

    def as_json(self) -> dict[str, object]:
        """The same for the control interface; bytes that are not UTF-8 are replaced."""
        return vars(self) | {"body": self.body.decode(errors="replace")}


class HelpdeskSwitches(Posted):
    """The simulator's permanent behaviour, as opposed to faults, which befall single calls."""


class _Token(Posted):
    token: str


class _State(Posted):
    state: str


class _Changes(RootModel[dict[str, object]]):
    """Switches by name, not yet checked."""


class HelpdeskSimulator[SwitchesT: HelpdeskSwitches](ABC):
    """A helpdesk on loopback. `token`, `switches` and `faults` may be changed from any thread at any time."""

    name: str
    operations: Collection[str]
    id_paths: Collection[str]
    """Where an answer holds a ticket's id, for faults that remove or falsify it: keys joined by dots, arrays
    left out."""

    def __init__(self, *, token: str, switches: SwitchesT, clock: Callable[[], float] = time.time) -> None:
        self.token = token
        self.switches = switches
        self.clock = clock
        self.faults = FaultScript(self.operations)
        self.calls: list[ReceivedCall] = []
        self._initial_token = token
        self._initial_switches = switches

    @abstractmethod
    def operation_of(self, method: str, path: str) -> str:
        """One of `operations`, or OTHER."""

    @abstractmethod
    def perform(self, call: ReceivedCall) -> Answer:
        """Do what the call asks and return the true answer."""

    @abstractmethod
    def tickets_as_json(self) -> list[dict[str, object]]:
        """Every stored ticket in the simulator's own plain form, oldest first.

        Each has at least `ticket_id`, `title`, `email`, `state` and `comments`.
        """

    @abstractmethod
    def forget_tickets(self) -> None:
        """Empty the store."""

    @abstractmethod
    def change_by_hand(self, ticket_id: str, state: str) -> None:
        """Give a ticket another state, as a person at the helpdesk does. Raises ControlError."""

    @abstractmethod
    def delete_by_hand(self, ticket_id: str) -> None:
        """Take a ticket away. Raises ControlError."""

    @abstractmethod
    def copy_by_hand(self, ticket_id: str) -> str:
        """Make the same ticket again; returns the new one's id. Raises ControlError."""

    def expire_tokens(self) -> int:
        """End what was minted from `token`; returns how many there were."""
        return 0

    def reset(self) -> None:
        """Back to the state of the start: no tickets, calls or faults; first token and switches."""
        self.forget_tickets()
        self.faults.clear()
        self.calls.clear()
        self.token = self._initial_token
        self.switches = self._initial_switches

    def control_routes(self) -> list[web.RouteDef]:
        """What this helpdesk's control interface has beyond every other's, under /_control."""
        return []

    def app(self) -> web.Application:
        """A new application on the same state; one is needed for each run of a server."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[guarded_here, _refusing])
        control = _Control(self)
        app.add_routes(
            [
                web.get("/_control/health", control.health),
                web.get("/_control/tickets", control.tickets),
                web.put("/_control/tickets/{ticket_id}", control.put_ticket),
                web.delete("/_control/tickets/{ticket_id}", control.delete_ticket),
                web.post("/_control/tickets/{ticket_id}/copy", control.copy_ticket),
                web.get("/_control/calls", control.calls),
                web.get("/_control/token", control.token),
                web.put("/_control/token", control.put_token),
                web.post("/_control/expire", control.expire),
                web.get("/_control/faults", control.faults),
                web.post("/_control/faults", control.post_faults),
                web.delete("/_control/faults", control.delete_faults),
                web.put("/_control/switches", control.put_switches),
                web.post("/_control/reset", control.reset),
                *self.control_routes(),
                web.route("*", "/{path:(?!_control/).*}", self._answer_call),
            ]
        )
        return app

    async def _answer_call(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = ReceivedCall(
            operation=self.operation_of(request.method, request.path),
            method=request.method,
            path=request.path_qs,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            received_at=time.monotonic(),
            origin=f"{request.scheme}://{request.host}",
        )
        self.calls.append(call)
        fault = self.faults.pick(call.operation, body)
        if fault is None:
            answer = self.perform(call)
            call.status = answer.status
            return answer.response()
        response = await deliver(request, fault, lambda: self.perform(call), self.id_paths)
        if response is None:
            return web.Response()  # aiohttp wants one; the connection it would go to is gone.
        call.status = response.status
        return response


class _Control[SwitchesT: HelpdeskSwitches]:
    """The JSON interface under /_control by which other programs steer and observe a simulator."""

    def __init__(self, simulator: HelpdeskSimulator[SwitchesT]) -> None:
        self._simulator = simulator

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "helpdesk": self._simulator.name})

    async def tickets(self, _: web.Request) -> web.Response:
        return web.json_response(self._simulator.tickets_as_json())

    async def put_ticket(self, request: web.Request) -> web.Response:
        ticket_id = request.match_info["ticket_id"]
        self._simulator.change_by_hand(ticket_id, posted(_State, await json_of(request)).state)
        return web.json_response({"ticket_id": ticket_id})

    async def delete_ticket(self, request: web.Request) -> web.Response:
        ticket_id = request.match_info["ticket_id"]
        self._simulator.delete_by_hand(ticket_id)
        return web.json_response({"ticket_id": ticket_id})

    async def copy_ticket(self, request: web.Request) -> web.Response:
        copied = self._simulator.copy_by_hand(request.match_info["ticket_id"])
        return web.json_response({"ticket_id": copied}, status=201)

    async def calls(self, _: web.Request) -> web.Response:
        return web.json_response([call.as_json() for call in self._simulator.calls])

    async def token(self, _: web.Request) -> web.Response:
        return web.json_response({"token": self._simulator.token})

    async def put_token(self, request: web.Request) -> web.Response:
        self._simulator.token = posted(_Token, await json_of(request)).token
        return await self.token(request)

    async def expire(self, _: web.Request) -> web.Response:
        return web.json_response({"expired": self._simulator.expire_tokens()})

    async def faults(self, _: web.Request) -> web.Response:
        return web.json_response(self._simulator.faults.as_json())

    async def post_faults(self, request: web.Request) -> web.Response:
        self._simulator.faults.post(await json_of(request))
        return web.json_response(self._simulator.faults.as_json(), status=201)

    async def delete_faults(self, _: web.Request) -> web.Response:
        self._simulator.faults.clear()
        return web.json_response([])

    async def put_switches(self, request: web.Request) -> web.Response:
        """Switches that are not named keep their value."""
        current, changes = self._simulator.switches, posted(_Changes, await json_of(request)).root
        self._simulator.switches = posted(type(current), current.model_dump() | changes)
        return web.json_response(self._simulator.switches.model_dump(mode="json"))

    async def reset(self, _: web.Request) -> web.Response:
        self._simulator.reset()
        return web.json_response({"status": "ok"})


async def json_of(request: web.Request) -> object:
    """What was posted to the control interface. Raises ControlError."""
    try:
        content: object = json.loads(await request.read())
    except ValueError as error:
        raise ControlError([f"not JSON: {error}"]) from error
    return content


@web.middleware
async def _refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The control interface's answer to what is wrong."""
    try:
        return await handler(request)
    except ControlError as error:
        return web.json_response({"errors": error.errors}, status=400)


@asynccontextmanager
async def _listening(
    app: web.Application, port: int, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port, ssl_context=ssl_context, backlog=1024).start()
        scheme = "https" if ssl_context else "http"
        yield f"{scheme}://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextmanager
def running(
    app: web.Application, *, port: int = 0, ssl_context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Run the application in a thread with a loop of its own while the block lasts; gives its base URL.

    Port 0 picks a free one. Pass an SSL context to serve https.
    """
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stopping = asyncio.Event()
        try:
            async with _listening(app, port, ssl_context) as url:
                started.set_result((url, asyncio.get_running_loop(), stopping))
                await stopping.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="helpdesk-simulator", daemon=True)
    thread.start()
    url, loop, stopping = started.result(timeout=_START_SECONDS)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()


def options_of(program: str, switches: type[HelpdeskSwitches]) -> argparse.ArgumentParser:
    """The options that every simulator has."""
    parser = argparse.ArgumentParser(prog=program, description="Serve one account in the foreground.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    what = "JSON of what differs between accounts"
    parser.add_argument("--switches", type=switches.model_validate_json, help=what)
    parser.add_argument("--ready-file", type=Path, help='gets {"url": ..., "pid": ...} once it listens')
    return parser


def run_in_foreground(
    app: web.Application,
    *,
    port: int,
    ready_file: Path | None = None,
    path: str = "",
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Once the server listens, `ready_file` holds `{"url": …, "pid": …}`; it appears whole or not at all, and
    one left over from an earlier run is removed first. `ready` is called with the URL. `path` is added to it.
    """

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, stopping.set)
        async with _listening(app, port) as base:
            url = base + path
            if ready_file:
                write_json(ready_file, {"url": url, "pid": os.getpid()})
            if ready:
                ready(url)
            await stopping.wait()

    if ready_file:
        ready_file.unlink(missing_ok=True)
    asyncio.run(serve())
