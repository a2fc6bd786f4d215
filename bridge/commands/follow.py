"""Commands that find requests, follow outcomes as they are published, and show logs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.calls import call
from bridge.commands.operate import (
    HELPDESK,
    StackCommand,
    TalkingCommand,
    on_a_stack,
    operations_on,
    target_on,
)
from bridge.operating import finding
from bridge.operating.finding import WHEN, WORTH_SAYING, Found, Search
from bridge.operating.log_lines import read_events
from bridge.operating.words import STATES, clock_time
from bridge.plain import plain
from bridge.stacks import outcomes
from bridge.stacks.queues import TopicQueue, remove_left_behind
from bridge.stacks.target import FUNCTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.stacks.target import Target

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_FORWARD_S = 10.0
# SQS waits no longer; an outcome comes at once.
_WAIT_S = 20
_COLOURS = {"succeeded": "green", "rejected": "red", "parked": "red", "unknown": "yellow"}


class _Moment(click.ParamType):
    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds since the epoch."""
        try:
            return finding.moment(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(name="requests", cls=StackCommand)
@on_a_stack
@click.option("--source", help="Who asked.")
@click.option("--reference", help="The sender's own name of the ticket.")
@click.option("--ticket-id", help="The id of a ticket that was added or updated.")
@click.option("--helpdesk", type=HELPDESK, help="Where it is carried out.")
@click.option("--state", type=click.Choice(list(STATES)), help="Where it stands.")
@click.option("--since", type=_Moment(), help=f"With a step since then: {WHEN}.")
@click.option(
    "--most",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="NUMBER",
    help="Show so many, the latest.",
)
@click.option("--json", "as_json", is_flag=True, help="One object in a line for each; times in seconds.")
def requests_command(
    state_dir: Path,
    stack: str | None,
    since: float | None,
    most: int,
    as_json: bool,
    **names: str | None,
) -> None:
    """Find requests of the last 28 days, the latest first.

    This reads the whole ledger, whatever it finds: about $0.02 and a minute for each GB. The dead-letter
    queue is looked at too, for the ledger has nothing of requests that could not be read. Gets are not found.

    \b
    Example:
      bridge requests --source shop --reference o-17
      bridge requests --state parked --since 2h
      bridge requests --ticket-id 713516551148
    """
    operations = operations_on(state_dir, stack)
    price = finding.price(operations.target)
    if price[0] > WORTH_SAYING:
        click.echo(f"Reading {finding.price_in_words(*price)} …", err=True)
    found = finding.find(operations, Search(**names, since=since or 0.0), most)
    for request in found:
        click.echo(json.dumps(asdict(request)) if as_json else _line(request))
    if len(found) == most:
        click.echo(f"There may be more than these {most}: see --most.", err=True)
    if not found and not as_json:
        click.echo("No such request.")


def _line(request: Found) -> str:
    parts = [
        f"{clock_time(request.at)[:19]}Z",
        f"{request.state:<9}",
        " ".join(filter(None, (request.operation, request.request_id))),
        f"from {request.source}" if request.source else "",
        f"reference {request.reference}" if request.reference else "",
        f"ticket {request.ticket_id}" if request.ticket_id else "",
        request.code or "",
    ]
    return plain("  ".join(filter(None, parts)))


@click.command(cls=TalkingCommand)
@on_a_stack
@click.option("--source", multiple=True, help="Only outcomes of this source; may be given more than once.")
@click.option("--outcome", multiple=True, type=click.Choice(list(_COLOURS)), help="Only these.")
@click.option("--helpdesk", multiple=True, type=HELPDESK, help="Only of this helpdesk.")
@click.option(
    "--forward", metavar="URL", help="Also POST each event there: https, or a port of this machine."
)
@click.option("--json", "as_json", is_flag=True, help="The events as they are published, one in a line.")
def tail(
    state_dir: Path, stack: str | None, forward: str | None, as_json: bool, **filters: tuple[str, ...]
) -> None:
    """Follow outcomes as they are published, until Ctrl-C.

    A queue of its own is subscribed to the stack's topic, and removed at the end. What a killed one has left
    is removed by the next.

    \b
    Example:
      bridge tail --stack ticket-bridge --source shop --outcome rejected --outcome parked
      bridge tail --json | jq .data.ticket_id
      bridge tail --forward http://localhost:8000/tickets
    """
    if forward:
        _check_address(forward)
    stack_target = target_on(state_dir, stack)
    name = f"tail-{stack_target.name}"
    _tidy(stack_target, name)
    policy = {attribute: values for attribute, values in filters.items() if values}
    with TopicQueue(stack_target, stack_target.outcomes_topic_arn, name, policy) as queue:
        click.echo(f"Following {stack_target.name}; stop with Ctrl-C.", err=True)
        while True:
            for body in queue.take(_WAIT_S):
                _show(body, as_json=as_json)
                if forward:
                    click.echo(f"  {_forwarded(body, forward)}", err=True)


def _tidy(stack_target: Target, name: str) -> None:
    try:
        removed = remove_left_behind(stack_target, stack_target.outcomes_topic_arn, name)
    except (BotoCoreError, ClientError) as error:
        click.echo(f"Whether an earlier tail has left a queue cannot be seen: {error}", err=True)
        return
    if removed:
        click.echo(f"Removed {removed} that an earlier tail has left.", err=True)


def _show(body: str, *, as_json: bool) -> None:
    event = json.loads(body)
    if as_json:
        click.echo(json.dumps(event))
    else:
        # The colour is left out where nobody sees it.
        colour = _COLOURS.get(event.get("data", {}).get("outcome"))
        click.echo(click.style(outcomes.line(event), fg=colour))


def _check_address(url: str) -> None:
    address = urlsplit(url)
    if not (address.scheme == "https" or (address.scheme == "http" and address.hostname in _LOOPBACK)):
        raise click.UsageError("--forward takes an https address, or http on this machine (localhost)")


def _forwarded(body: str, url: str) -> str:
    """What came of it. Each event is sent once."""
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    try:
        response = call("POST", url, data=body.encode(), headers=headers, timeout=_FORWARD_S)
    except requests.RequestException as error:
        return f"not taken: {type(error).__name__}"
    return f"{'taken' if response.ok else 'not taken'}: HTTP {response.status_code}"


@click.command(cls=StackCommand)
@on_a_stack
@click.option("--since", type=_Moment(), default="15m", help=f"Logged since then: {WHEN}.  [default: 15m]")
@click.option("--request-id", help="Only lines about this request.")
@click.option("--json", "as_json", is_flag=True, help="Each line as it was logged.")
@click.argument("function", type=click.Choice(FUNCTIONS))
def logs(
    state_dir: Path, stack: str | None, since: float, request_id: str | None, as_json: bool, function: str
) -> None:
    """Show what a function has logged, the oldest line first. Times are UTC.

    \b
    Example:
      bridge logs form-intake --since 2h
      bridge logs ticket-queue --request-id order-1001
    """
    is_empty = True
    for event in read_events(target_on(state_dir, stack), function, since=since, request_id=request_id):
        message = event["message"].rstrip()
        line = plain(message) if as_json else _log_line(event["timestamp"] / 1000, message)
        if line:
            click.echo(line)
            is_empty = False
    if is_empty and not as_json:
        click.echo(f"{function} has logged nothing of this since {clock_time(since)}.")


# What each line of a function has, and nobody looks for.
_USUAL = {
    "level",
    "location",
    "timestamp",
    "service",
    "message",
    "xray_trace_id",
    "cold_start",
    "function_name",
    "function_memory_size",
    "function_arn",
    "function_request_id",
}


def _log_line(at: float, message: str) -> str:
    """The line for people; empty for figures, and for Lambda's frame of a run that ended as it should."""
    try:
        fields = json.loads(message)
    except ValueError:
        is_frame = message.startswith(("START ", "END ", "REPORT ")) and "Status: " not in message
        return "" if is_frame else plain(f"{clock_time(at)}  {message}")
    if not isinstance(fields, dict) or "level" not in fields:
        return ""
    more = [f"{name}={value}" for name, value in fields.items() if name not in _USUAL and value is not None]
    return plain("  ".join([clock_time(at), f"{fields['level']:<7}", str(fields.get("message")), *more]))


COMMANDS = (requests_command, tail, logs)
