"""Commands of an operator, about the local stack or a deployed one."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from botocore.exceptions import BotoCoreError, ClientError
from click.core import ParameterSource

from bridge import consent
from bridge.errors import BridgeError
from bridge.local import folder
from bridge.local.helpdesks import HELPDESKS
from bridge.local.state import StateFolder
from bridge.operating.operations import Listing, Operations, ParkedCopy, Selection, age
from bridge.operating.parked import by_code, counted, in_words
from bridge.operating.words import clock_time, refused_keys
from bridge.plain import as_argument, plain, plain_lines
from bridge.progress import at_work
from bridge.stacks import target
from bridge.stacks.target import STACK_VARIABLE, Target
from helpdesk.errors import HelpdeskError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# More copies are counted, and not shown line by line.
_MOST_LINES = 20
_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One object in a line for each copy, with its body."
)
_gate_as_json = click.option(
    "--json", "as_json", is_flag=True, help="One object: the helpdesk, and whether it is paused."
)
# A name with a slip in it finds nothing, and says so nowhere.
HELPDESK = click.Choice([desk.name for desk in HELPDESKS])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_of_a_helpdesk = click.option(
    "--helpdesk", type=HELPDESK, help="Which one.  [default: the first that the stack serves]"
)


with_state_dir = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="BRIDGE_STATE_DIR",
    default=folder.default_state,
    help="Folder of the local stack's files and logs; stacks with different folders run side by side."
    "  [env: BRIDGE_STATE_DIR; default: .bridge beside bridge.toml]",
)


allow_endpoint = click.option(
    "--allow-endpoint",
    "endpoint",
    metavar="URL",
    help="Go to this address, to which AWS_ENDPOINT_URL leads. Without it only AWS's own are taken.",
)


def named_stack(context: click.Context, _option: click.Parameter, stack: str | None) -> str | None:
    """What is said on the command line goes before what the environment says."""
    said = [
        name
        for name in ("stack", "state_dir")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    return None if said == ["state_dir"] else stack


def stack_option(words: str, **more: Any) -> Callable[[Callable[..., Any]], Any]:
    """The option --stack, with these words of help."""
    words = f"{words}  [env: {STACK_VARIABLE}]"
    return click.option("--stack", metavar="NAME", envvar=STACK_VARIABLE, help=words, **more)


def on_a_stack[F: Callable[..., Any]](command: F) -> F:
    """Adds the options that choose the stack, which `target_on` then reaches."""
    words = "A stack deployed into the AWS account of your usual credentials, instead of the local one."
    adds: Callable[[F], F] = stack_option(words, callback=named_stack)
    return adds(with_state_dir(command))


def target_on(state_dir: Path, stack: str | None) -> Target:
    """The chosen stack, which is named on standard error. Raises BridgeError where there is none."""
    try:
        if stack:
            reached = target.deployed(stack)
        else:
            reached = target.local(StateFolder(state_dir).read_stack(), state_dir)
    except BridgeError as error:
        hint = "" if stack else f"; for a deployed one: --stack NAME, or {STACK_VARIABLE}"
        raise BridgeError(f"{error}{hint}") from error
    announce(reached)
    return reached


def announce(reached: Target) -> None:
    """Names the stack, once, where people read what comes."""
    if not click.get_current_context().params.get("as_json"):
        click.echo(f"{reached.where}:", err=True)


def operations_on(state_dir: Path, stack: str | None) -> Operations:
    """What works on the chosen stack. Raises BridgeError where there is none."""
    return Operations(target_on(state_dir, stack))


class TalkingCommand(click.Command):
    """A command whose AWS errors are shown in one line; it says itself that it is at work."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (BotoCoreError, ClientError, HelpdeskError) as error:
            raise BridgeError(target.words_of(error)) from error


class StackCommand(TalkingCommand):
    """The same, which says that it is at work when that takes longer."""

    def invoke(self, ctx: click.Context) -> Any:
        with at_work("Asking the stack"):
            return super().invoke(ctx)


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that choose parked requests; the command gets them as one `selection`."""

    @click.option("--code", help="Only those parked for this reason, as `bridge parked` shows it.")
    @click.option("--source", help="Only those of this source.")
    @click.option("--request-id", help="Only this one.")
    @click.option("--all", "everything", is_flag=True, help="Whatever is parked.")
    @wraps(command)
    def selecting(
        *, code: str | None, source: str | None, request_id: str | None, everything: bool, **more: Any
    ) -> None:
        if not (code or source or request_id or everything):
            raise click.UsageError("say which: --code, --source, --request-id, or --all")
        command(selection=Selection(code, source, request_id), **more)

    return selecting


@click.command(cls=StackCommand)
@on_a_stack
@_as_json
def parked(state_dir: Path, stack: str | None, as_json: bool) -> None:
    """List parked requests by the reason.

    They are the copies in the dead-letter queue, and stay there.

    \b
    Example:
      bridge parked
      bridge parked --stack ticket-bridge --json
    """
    operations = operations_on(state_dir, stack)
    listing = operations.parked()
    if listing.hidden:
        click.echo(listing.hidden, err=True)
    if as_json:
        for copy in listing.copies:
            click.echo(_as_object(copy))
        return
    for line in in_words(listing, operations.target.command):
        click.echo(line)


@click.command(cls=TalkingCommand)
@on_a_stack
@_selecting
@consent.assume_yes
@consent.only_shows()
@_as_json
def redrive(
    state_dir: Path, stack: str | None, selection: Selection, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Show parked requests and, when you agree, send them again.

    They go through the queue, by the same ledger and the same budget as any other. One parked as
    outcome_unknown or crashed may have made its ticket. It is sent only where its code or its id is named:
    look at the helpdesk first.

    \b
    Example:
      bridge redrive --code expired
      bridge redrive --request-id order-1001 --yes
    """
    operations, note = operations_on(state_dir, stack), partial(_say_left_out, selection)
    act, on = operations.redrive, operations.target
    _carry_out(on, act, selection, "sent again", note, yes=yes, dry_run=dry_run, as_json=as_json)


def _say_left_out(selection: Selection, listing: Listing) -> None:
    left_out = [copy for copy in listing.copies if selection.leaves_out(copy)]
    for code in sorted({copy.code for copy in left_out}):
        count = counted([copy for copy in left_out if copy.code == code])
        words = f"{count} left out: {code}, so the ticket may exist. Look at the helpdesk, then --code {code}"
        click.echo(words, err=True)


@click.command(cls=TalkingCommand)
@on_a_stack
@_selecting
@click.option(
    "--why", metavar="REASON", default="", help="Must be said. Kept for 28 days: no words of customers."
)
@consent.assume_yes
@consent.only_shows()
@_as_json
def drop(
    state_dir: Path,
    stack: str | None,
    selection: Selection,
    why: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show parked requests and, when you agree, delete them for good.

    Who dropped a request, and why, is shown by `bridge trace`. Nothing else holds its text afterwards.

    \b
    Example:
      bridge drop --request-id order-1001 --why "the shop has sent it again as order-1001a"
      bridge drop --code not_json --dry-run
    """
    if not (why or dry_run):
        raise click.UsageError("say --why REASON, or --dry-run")
    operations = operations_on(state_dir, stack)
    act, on = partial(operations.drop, why=why), operations.target
    _carry_out(on, act, selection, "dropped", yes=yes, dry_run=dry_run, as_json=as_json)


def _carry_out(
    on: Target,
    act: Callable[..., Listing],
    selection: Selection,
    done: str,
    note: Callable[[Listing], None] = lambda _: None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Shows the copies that are meant. Where that is agreed, acts on exactly these, and says so as `done`."""
    acts_at_once = yes and not dry_run
    shown = _Shown(as_json)
    with at_work("Asking the stack"), shown.told_to_the_end(done if acts_at_once else ""):
        listing = act(selection, report=shown, dry_run=not acts_at_once)
    if listing.hidden:
        click.echo(listing.hidden, err=True)
    note(listing)
    if listing.copies and not any(map(selection.has, listing.copies)):
        # A name with a slip in it finds nothing.
        words = f"{counted(listing.copies)} parked, and none is meant. See: {on.command('parked')}"
        click.echo(words, err=True)
    if not acts_at_once:
        click.echo(f"{shown.counted} would be {done}.", err=as_json)
        if dry_run or not shown.count:
            return
        consent.ask(f"Shall they be {done}?", f"Nothing is {done}.")
        agreed, shown = replace(selection, message_ids=shown.message_ids), _Shown(as_json, only_counts=True)
        with at_work("At work"), shown.told_to_the_end(done):
            act(agreed, report=shown, dry_run=False)
    click.echo(f"{shown.counted} {done}.", err=as_json)


@click.command(cls=TalkingCommand)
@on_a_stack
@click.option("--code", help="Where it is parked for several reasons: this one.")
@click.option(
    "--file", type=click.File(), help="The corrected request, instead of your editor; - for standard input."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One object: the id under which it was sent, and whether it is the same.",
)
@click.argument("request_id")
def edit(
    state_dir: Path,
    stack: str | None,
    code: str | None,
    file: TextIO | None,
    as_json: bool,
    request_id: str,
) -> None:
    """Correct a parked request in your editor ($EDITOR), and send it.

    What you save is checked as the API checks it, and sent; what you leave unchanged is not. It keeps its id
    where nothing can have been done of it, else it gets an id that begins with the old one. Its copy is
    deleted.

    \b
    Example:
      bridge edit order-1001
      bridge parked --json | jq -r 'select(.request_id == "order-1001").body' > order.json
      bridge edit order-1001 --file order.json
    """
    operations = operations_on(state_dir, stack)
    draft = operations.draft(request_id, code)
    if draft.copy.may_have_happened:
        click.echo(f"{draft.copy.code}: its ticket may exist. Look at the helpdesk first.", err=True)
    text, sent = file.read() if file else _edited(draft.text), None
    while text is not None and sent is None:
        try:
            sent = operations.correct(draft, text)
        except RejectedError as error:
            problems = [f"  {problem.field} {problem.problem}" for problem in error.problems]
            words = plain_lines("\n".join(["Nothing is sent:", *(problems or [error.message])]))
            if file:
                raise BridgeError(words) from error
            click.echo(words, err=True)
            text = _edited(text) if click.confirm("Edit it again?", default=True, err=True) else None
    if sent is None:
        raise BridgeError("Nothing was changed, so nothing is sent.")
    if as_json:
        click.echo(json.dumps(asdict(sent)))
        return
    trace = operations.target.command(f"trace {as_argument(sent.request_id)}")
    click.echo(plain(f"{sent.in_words(request_id)} See: {trace}"))


def _edited(text: str) -> str | None:
    """The text as it was saved; None where it was not. The file is removed."""
    return click.edit(text, extension=".json")


@click.command(cls=StackCommand)
@on_a_stack
@_of_a_helpdesk
@_gate_as_json
def pause(state_dir: Path, stack: str | None, helpdesk: str | None, as_json: bool) -> None:
    """Stop calling a helpdesk. Requests are still accepted, and wait.

    \b
    Example:
      bridge pause
      bridge pause --helpdesk socialboards
    """
    operations = operations_on(state_dir, stack)
    helpdesk = helpdesk or operations.helpdesks[0]
    operations.gate(helpdesk).pause()
    if as_json:
        click.echo(json.dumps({"helpdesk": helpdesk, "paused": True}))
        return
    others = [name for name in operations.helpdesks if name != helpdesk]
    rest = f" {' and '.join(others)} is called as before." if others else ""
    back = operations.target.command(f"resume --helpdesk {helpdesk}")
    click.echo(f"{helpdesk} is paused: its requests wait.{rest} Go on with: {back}")


@click.command(cls=StackCommand)
@on_a_stack
@_of_a_helpdesk
@_gate_as_json
def resume(state_dir: Path, stack: str | None, helpdesk: str | None, as_json: bool) -> None:
    """Call a helpdesk again: end a pause, or open a closed gate.

    \b
    Example:
      bridge resume
      bridge resume --helpdesk socialboards
    """
    operations = operations_on(state_dir, stack)
    helpdesk = helpdesk or operations.helpdesks[0]
    operations.gate(helpdesk).resume()
    if as_json:
        click.echo(json.dumps({"helpdesk": helpdesk, "paused": False}))
        return
    click.echo(f"{helpdesk} is called again. Waiting requests come back within 15 minutes.")
    # A key is tried again by the clock, and not by whoever resumes.
    for sentence in refused_keys(helpdesk, operations.gate(helpdesk).read().refused):
        click.echo(sentence)


@click.command(cls=StackCommand)
@on_a_stack
@click.option("--json", "as_json", is_flag=True, help="One object; times in seconds.")
@click.argument("request_id")
def trace(state_dir: Path, stack: str | None, as_json: bool, request_id: str) -> None:
    """Tell the story of a request: where it stands, and each step.

    Times are UTC.

    \b
    Example:
      bridge trace order-1001
    """
    story = operations_on(state_dir, stack).trace(request_id)
    if as_json:
        click.echo(json.dumps({"request_id": request_id, **asdict(story)}))
        return
    where = f" at {story.helpdesk}" if story.helpdesk else ""
    click.echo(plain(f"{request_id}{where}: {story.stands}"))
    for error in story.errors:
        click.echo(plain(f"  {error.field}: {error.problem}"))
    for step in story.steps:
        click.echo(plain(f"  {clock_time(step.at)}  {step.text}"))
    if story.steps:
        click.echo(f"The last step was {age(story.steps[-1].at)} ago.")
    for unread in story.unread:
        click.echo(plain(f"Not read. {unread}"))


COMMANDS = (parked, redrive, drop, edit, pause, resume, trace)


class _Shown:
    """Shows the first copies that it gets, and all of them as counts by their code; or only counts them."""

    def __init__(self, as_json: bool, *, only_counts: bool = False) -> None:
        self._as_json = as_json
        self._only_counts = only_counts
        self._copies: list[ParkedCopy] = []

    @property
    def count(self) -> int:
        return len(self._copies)

    @property
    def counted(self) -> str:
        return counted(self._copies)

    @property
    def message_ids(self) -> frozenset[str]:
        return frozenset(copy.message_id for copy in self._copies)

    def __call__(self, copy: ParkedCopy) -> None:
        self._copies.append(copy)
        if self._only_counts:
            return
        if self._as_json:
            click.echo(_as_object(copy))
        elif self.count <= _MOST_LINES:
            click.echo(_line(copy))

    @contextmanager
    def told_to_the_end(self, done: str) -> Iterator[None]:
        """Sums up what the block has shown; where it is interrupted, how far it came, if it acts."""
        try:
            yield
        except BaseException:
            if done:
                words = f"Ended early: at least {self.counted} {done}; the others stay parked."
                click.echo(words, err=True)
            raise
        if self.count > _MOST_LINES and not (self._as_json or self._only_counts):
            click.echo(f"… and {self.count - _MOST_LINES} more copies. All of them:")
            for line in by_code(self._copies):
                click.echo(line)


def _as_object(copy: ParkedCopy) -> str:
    return json.dumps({**copy.attributes, "body": copy.body})


def _line(copy: ParkedCopy) -> str:
    known = copy.attributes
    what = " ".join(filter(None, (known.get("operation"), copy.request_id)))
    return plain(
        f"{what}  {copy.code}  from {copy.source or 'unknown'}, attempts {known.get('attempts', '0')}"
    )
