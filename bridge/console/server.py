"""Serves the console's page and its JSON interface on loopback.

`bridge up` starts it as `python -m bridge.console.server --state-dir FOLDER`, `bridge console` in its own
process.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import RootModel, ValidationError

from bridge.console.connection import LocalConnection
from bridge.console.guard import Guard
from bridge.console.handling import ACTS
from bridge.console.view import Console
from bridge.errors import BridgeError
from bridge.local.state import StateFolder
from bridge.simulators.faults import Posted
from bridge.simulators.server import run_in_foreground
from bridge.stacks.target import words_of
from helpdesk.errors import HelpdeskError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware
    from pydantic import BaseModel


_PAGE = Path(__file__).parent / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Less than the page waits.
_PATIENCE_S = 10.0


class _Gate(Posted):
    helpdesk: str


class _Request(RootModel[dict[str, Any]]):
    pass


class _Submission(Posted):
    form: str
    body: str


class _Simulate(Posted):
    helpdesk: str
    what: str


class Server:
    """The console's interface: GET reads, POST acts; a failure is `{"error": words}`."""

    def __init__(self, console: Console, guard: Guard) -> None:
        self._console = console
        self._guard = guard
        self._reading: asyncio.Task[web.Response] | None = None

    def app(self) -> web.Application:
        """The application, below the guard's key."""
        app = web.Application(middlewares=[self._guard.middleware(), self._after_actions()])
        below = f"/{self._guard.key}"
        names = ["", *(file.name for file in _PAGE.iterdir())]
        app.add_routes([web.get(f"{below}/{name}", self._file) for name in names])
        app.add_routes(
            [
                web.get(f"{below}/api/now", self._now),
                web.get(f"{below}/api/series", self._series),
                web.get(f"{below}/api/choices", self._choices),
                web.get(f"{below}/api/trace", self._trace),
                *(web.post(f"{below}/api/{name}", _acting(*act)) for name, act in self._acts().items()),
            ]
        )
        return app

    def _acts(self) -> dict[str, tuple[type[BaseModel], Callable[[Any], Any]]]:
        """What is posted to each address, and what is done with it."""
        console = self._console
        return {
            **{name: (act, console.handle) for name, act in ACTS.items()},
            "pause": (_Gate, lambda posted: console.pause(posted.helpdesk)),
            "resume": (_Gate, lambda posted: console.resume(posted.helpdesk)),
            "requests": (_Request, lambda posted: console.send(posted.root)),
            "submissions": (_Submission, lambda posted: console.submit(posted.form, posted.body)),
            "simulate": (_Simulate, lambda posted: console.simulate(posted.helpdesk, posted.what)),
        }

    def _after_actions(self) -> Middleware:
        """After an action nobody gets a look that began before it."""

        @web.middleware
        async def acting(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            finally:
                if request.method == "POST":
                    self._reading = None

        return acting

    async def _file(self, request: web.Request) -> web.Response:
        file = _PAGE / (request.path.rpartition("/")[2] or "page.html")
        text = file.read_text().replace("{{token}}", self._guard.token)
        return web.Response(text=text, content_type=_KINDS[file.suffix], charset="utf-8")

    async def _now(self, _: web.Request) -> web.Response:
        # Several pages, or one that does not wait, read a slow stack once.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(_answer(self._console.now))
        try:
            answer = await asyncio.wait_for(asyncio.shield(self._reading), _PATIENCE_S)
        except TimeoutError:
            words = f"The stack has not answered for {_PATIENCE_S:.0f} seconds."
            return web.json_response({"error": words}, status=504)
        return web.Response(body=answer.body, status=answer.status, content_type="application/json")

    async def _series(self, _: web.Request) -> web.Response:
        return await _answer(self._console.series)

    async def _choices(self, _: web.Request) -> web.Response:
        return await _answer(self._console.choices)

    async def _trace(self, request: web.Request) -> web.Response:
        request_id = request.query.get("request_id", "")
        return await _answer(lambda: self._console.story(request_id))


def serve(
    console: Console,
    *,
    port: int = 0,
    ready_file: Path | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` gets the address once it answers."""
    guard = Guard()
    run_in_foreground(
        Server(console, guard).app(), port=port, ready_file=ready_file, path=f"/{guard.key}/", ready=ready
    )


async def _answer(call: Callable[[], Any]) -> web.Response:
    """What the call returns, as JSON; its failures in words."""
    try:
        content = await _apart(call)
    except RejectedError as error:
        problems = [{"field": problem.field, "problem": problem.problem} for problem in error.problems]
        return web.json_response({"error": error.message, "errors": problems}, status=422)
    except (BridgeError, BotoCoreError, ClientError, HelpdeskError) as error:
        return web.json_response({"error": words_of(error)}, status=503)
    return web.json_response(content)


async def _apart(call: Callable[[], Any]) -> Any:
    """The call in a thread of its own, which does not hold up the end of the program when the stack hangs."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            answer.set_exception(error)

    threading.Thread(target=run, name="console", daemon=True).start()
    return await asyncio.wrap_future(answer)


def _acting(model: type[BaseModel], act: Callable[[Any], Any]) -> Handler:
    async def posted(request: web.Request) -> web.Response:
        try:
            wanted = model.model_validate_json(await request.read())
        except ValidationError as error:
            problems = [
                {
                    "field": ".".join(map(str, problem["loc"])),
                    "problem": problem["msg"].replace("Input should", "must"),
                }
                for problem in error.errors(include_url=False, include_input=False)
            ]
            words = "That was not understood, and nothing is done"
            return web.json_response({"error": words, "errors": problems}, status=400)
        return await _answer(lambda: act(wanted))

    return posted


@click.command()
@click.option("--state-dir", type=click.Path(path_type=Path), required=True)
@click.option("--ready-file", type=click.Path(path_type=Path), required=True)
def main(state_dir: Path, ready_file: Path) -> None:
    """Serve the console of a local stack; the ready file then holds its address, for this user only."""
    serve(Console(LocalConnection(StateFolder(state_dir))), ready_file=ready_file)


if __name__ == "__main__":
    main()
