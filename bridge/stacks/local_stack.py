"""Brings the whole local stack up and takes it down."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge.errors import BridgeError
from bridge.generate import sources
from bridge.learning.facts import joined
from bridge.learning.profiles import manner_of
from bridge.local import emulator, emulator_gaps, folder, processes, sam
from bridge.local.helpdesks import HELPDESKS, Wish
from bridge.local.state import EMULATOR, Stack
from bridge.stacks import deployment, local_metrics
from bridge.stacks.queues import OWN_QUEUES, subscribe
from bridge.stacks.target import outputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bridge.learning.facts import Learnt
    from bridge.local.folder import Folder
    from bridge.local.helpdesks import LocalHelpdesk
    from bridge.local.processes import Group
    from bridge.local.state import StateFolder

READY_SECONDS = 60.0
CONSOLE = "console"
# Parameters that a folder cannot set for its local stack.
OF_THIS_MACHINE = {"Architecture", *(desk.url_parameter for desk in HELPDESKS)}
OUTCOMES_QUEUE = f"{OWN_QUEUES}outcomes"
_API_OUTPUT = re.compile(r"https://(?P<api>[a-z0-9]+)\.execute-api\.[^/]+/(?P<stage>[^/]+)/?")


class _Server(NamedTuple):
    """A helpdesk as this stack knows it: what is wished of it, its simulator if it has one, its address."""

    helpdesk: LocalHelpdesk
    wish: Wish
    simulator: Group | None
    starts: bool

    @property
    def is_simulated(self) -> bool:
        return self.wish.url is None


def up(
    state: StateFolder,
    *,
    wishes: Mapping[str, Wish] | None = None,
    enforce_iam: bool = False,
    console: bool = True,
    own: Folder | None = None,
    like: Sequence[Learnt] = (),
    report: Callable[[str], None],
) -> Stack:
    """Start and deploy everything; on a stack that runs already, build and deploy again onto it.

    What is deployed are the forms, schedules and settings of `own`, by default the folder that is worked in.
    `wishes` says by the names of helpdesks what is wished of each; all others are simulated. With
    `enforce_iam` the roles of the template are checked; a running emulator keeps to what it was started
    with. `console` says whether the page is served. Simulators behave as the accounts `like`; the settings
    that follow from these are deployed where the folder says nothing else. Whatever ends it early, Ctrl-C
    too, what it started is stopped again. `report` gets a line for each step. Raises BridgeError.
    """
    accounts: dict[str, Learnt] = {learnt.helpdesk: learnt for learnt in like}
    checked = {
        desk.name: _checked(desk, (wishes or {}).get(desk.name, Wish()), accounts.get(desk.name))
        for desk in HELPDESKS
    }
    follow = {name: value for name, (value, _) in joined(like).items()}
    with state.locked():
        running = _running_stack(state)
        if running is None:
            # What a crash has left.
            state.stop_all()
        with _undone_on_failure(state, keep=state.groups()):
            try:
                return _up(
                    state,
                    running,
                    checked,
                    report,
                    own or folder.current(),
                    follow=follow,
                    enforce_iam=enforce_iam,
                    console=console,
                )
            except (BotoCoreError, ClientError, requests.RequestException) as error:
                raise BridgeError(f"A step failed: {error}. The logs are in {state.logs}") from error


def down(state: StateFolder) -> list[str]:
    """Stop everything that was started from this folder; returns the names of what still ran."""
    with state.locked(), processes.stop_signals_wait():
        return state.stop_all()


@contextmanager
def _undone_on_failure(state: StateFolder, keep: list[Group]) -> Iterator[None]:
    """Whatever ends the block early, everything started in it is stopped."""
    try:
        yield
    except BaseException:
        with processes.stop_signals_wait():
            if keep:
                state.stop([group for group in state.groups() if group not in keep])
            else:
                state.stop_all()
        raise


def _up(
    state: StateFolder,
    running: Stack | None,
    wishes: Mapping[str, Wish],
    report: Callable[[str], None],
    own: Folder,
    *,
    follow: Mapping[str, str],
    enforce_iam: bool,
    console: bool,
) -> Stack:
    began = time.monotonic()
    of_state = ("--state-dir", str(state.root))

    def done(step: str) -> None:
        processes.check_stop()
        report(f"{time.monotonic() - began:5.1f} s  {step}")

    settings = {**follow, **settings_of(own)}
    site = local_site("")
    # The build needs nothing that runs, so everything else starts beside it.
    build = sam.start_build(state, site, sources.assemble(own, state.root / "source"))
    servers = [_server(state, desk, wishes[desk.name]) for desk in HELPDESKS]
    page = None
    if console:
        # Its page says that the stack is not there yet, until it is.
        page = state.running(CONSOLE) or _start_server(state, CONSOLE, "bridge.console.server", *of_state)
    if running is None:
        endpoint_url = emulator.start_ready(state, enforce_iam=enforce_iam)
        done(f"emulator (MiniStack) answers at {endpoint_url}, log {state.log(EMULATOR)}")
    else:
        endpoint_url = running.endpoint_url
        done(f"emulator (MiniStack) runs already at {endpoint_url}")
    urls: dict[str, str] = {}
    for server in servers:
        desk = server.helpdesk
        urls[desk.name] = server.wish.url or ready_url(state, desk.simulator, server.simulator)
        log = f", log {state.log(desk.simulator)}" if server.is_simulated else ""
        done(f"{desk.title} is {urls[desk.name]}{log}")
    aws = emulator.Clients(endpoint_url)
    aws.s3.create_bucket(Bucket=sam.ARTIFACTS_BUCKET)
    outcomes_queue_url = aws.sqs.create_queue(QueueName=OUTCOMES_QUEUE)["QueueUrl"]

    sam.finish(state, build)
    done(f"sam build, log {state.log(build.name)}")
    addresses = {server.helpdesk.url_parameter: urls[server.helpdesk.name] for server in servers}
    site = local_site(endpoint_url)
    planned = deployment.plan(state, site, aws.cloudformation, settings | addresses)
    deployment.execute(aws.cloudformation, site, planned)
    emulator_gaps.fill(aws, sam.STACK_NAME)
    done(f"sam deploy, log {state.log('sam-deploy')}")

    console_url = ready_url(state, CONSOLE, page) if page else ""
    stack = replace(_describe(aws, outcomes_queue_url, urls, console_url), bridge_folder=str(own.root))
    subscribe(aws, queue_url=outcomes_queue_url, topic_arn=stack.outcomes_topic_arn, raw=True)
    for server in servers:
        _give_credentials(aws, stack, server, anew=running is None or server.starts)
        if not server.is_simulated and server.simulator is not None:
            state.stop([server.simulator])
    state.write_stack(stack)
    if state.running(local_metrics.NAME) is None:
        _start(state, local_metrics.NAME, local_metrics.__name__, *of_state)
    done(f"ready, described in {state.stack_file}")
    return stack


def local_site(endpoint_url: str) -> sam.Site:
    """Where the local stack is deployed, by the emulator's address."""
    return sam.Site(sam.STACK_NAME, emulator.REGION, sam.architecture(), endpoint_url=endpoint_url)


def settings_of(own: Folder) -> dict[str, str]:
    """What a folder sets for its local stack; what only this machine knows is not taken from there."""
    config = own.config()
    _, stage = config.stage(folder.LOCAL)
    given = config.parameters_of(stage)
    # All are simulated, and the folder's default comes first.
    served = dict.fromkeys(
        [*given.get("Helpdesks", "kapture").split(","), *(desk.name for desk in HELPDESKS)]
    )
    # So that who plays with it sees changes soon.
    usual = {"WatchMinutes": "1", "Helpdesks": ",".join(served)}
    return usual | {
        name: value for name, value in given.items() if name not in {*OF_THIS_MACHINE, "Helpdesks"}
    }


def _checked(desk: LocalHelpdesk, wish: Wish, like: Learnt | None) -> Wish:
    if wish.url is None:
        return wish if like is None else in_manner_of(like, wish)
    if like is not None:
        raise BridgeError(
            f"Of {desk.title} there is either another server or a simulator that behaves like one"
        )
    url = wish.url.rstrip("/")
    if not re.fullmatch(r"https?://[^/\s]+", url):
        raise BridgeError(f"--{desk.name}-url is scheme and host only, without a path: not {url}")
    return replace(wish, url=url)


def in_manner_of(learnt: Learnt, wish: Wish) -> Wish:
    """The wish for a simulator that behaves as the account did."""
    manner = manner_of(learnt)
    options = {"switches": json.dumps(manner.switches)} | ({"zone": manner.zone} if manner.zone else {})
    return replace(wish, manner=options, keys=manner.keys)


def _server(state: StateFolder, desk: LocalHelpdesk, wish: Wish) -> _Server:
    """The helpdesk; starts its simulator where it needs one that does not run yet."""
    simulator = state.running(desk.simulator)
    starts = wish.url is None and simulator is None
    if starts:
        simulator = start_simulator(state, desk, wish)
    elif wish.url is None and (fixed := {*wish.credentials, *wish.manner} - {next(iter(desk.credentials))}):
        raise BridgeError(
            f"The {desk.title} simulator runs already and keeps its {', '.join(sorted(fixed))}."
            " Stop the stack first, with: bridge down"
        )
    return _Server(desk, wish, simulator, starts)


def _running_stack(state: StateFolder) -> Stack | None:
    try:
        return state.read_stack()
    except BridgeError:
        return None


def start_simulator(state: StateFolder, desk: LocalHelpdesk, wish: Wish) -> Group:
    """Starts the helpdesk's simulator; `ready_url` waits for its address."""
    return _start_server(state, desk.simulator, desk.module, *desk.arguments(wish))


def _start_server(state: StateFolder, name: str, module: str, *arguments: str) -> Group:
    ready_file = _ready_file(state, name)
    ready_file.unlink(missing_ok=True)
    return _start(state, name, module, "--ready-file", str(ready_file), *arguments)


def _start(state: StateFolder, name: str, module: str, *arguments: str) -> Group:
    command = [sys.executable, "-m", module, *arguments]
    return state.start(name, command, env=emulator.bare_environment(state), cwd=state.root)


def ready_url(state: StateFolder, name: str, server: Group | None) -> str:
    """Where the server answers, once it does. Raises BridgeError with its log's name when it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while server and processes.members(server) and time.monotonic() < deadline:
        processes.check_stop()
        # It appears whole or not at all.
        if _ready_file(state, name).exists():
            return str(json.loads(_ready_file(state, name).read_text())["url"])
        time.sleep(0.05)
    raise BridgeError(f"The {name} did not start. {state.end_of_log(name)}")


def _give_credentials(aws: emulator.Clients, stack: Stack, server: _Server, *, anew: bool) -> None:
    """Write the wished credentials into the secret; the others stay, or with `anew` are the defaults.

    A simulator that ran before takes the new token from then on.
    """
    desk, wished = server.helpdesk, server.wish.credentials
    if not (anew or wished):
        return
    secret = stack.secret_arns[desk.name]
    before: Mapping[str, str] = (
        desk.credentials
        if anew
        else json.loads(aws.secretsmanager.get_secret_value(SecretId=secret)["SecretString"])
    )
    keys = {**before, **wished, **server.wish.keys}
    aws.secretsmanager.put_secret_value(SecretId=secret, SecretString=json.dumps(keys))
    if server.is_simulated and not server.starts and wished:
        (token,) = wished.values()
        desk.control(stack.urls, "PUT", "token", {"token": token})


def _ready_file(state: StateFolder, name: str) -> Path:
    return state.temporary / f"{name}.json"


def _describe(
    aws: emulator.Clients, outcomes_queue_url: str, urls: Mapping[str, str], console_url: str
) -> Stack:
    outputs = outputs_of(aws.cloudformation, sam.STACK_NAME)
    try:
        # On AWS the output is the ARN; the emulator's Ref of a secret is its name.
        secrets = {
            desk.name: aws.secretsmanager.describe_secret(SecretId=outputs[desk.secret_output])["ARN"]
            for desk in HELPDESKS
        }
        return Stack(
            endpoint_url=aws.endpoint_url,
            region=emulator.REGION,
            requests_queue_url=outputs["RequestsQueueUrl"],
            dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
            outcomes_topic_arn=outputs["OutcomesTopicArn"],
            outcomes_queue_url=outcomes_queue_url,
            api_url=_local_api_url(aws.endpoint_url, outputs["ApiUrl"]),
            api_key=aws.apigateway.get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"],
            event_bus_name=outputs["EventBusName"],
            ledger_table=outputs["LedgerTableName"],
            helpdesks=outputs["Helpdesks"],
            urls=urls,
            secret_arns=secrets,
            console_url=console_url,
        )
    except KeyError as error:
        raise BridgeError(f"The deployed template has no output {error}; it has {sorted(outputs)}") from error


def _local_api_url(endpoint_url: str, output: str) -> str:
    match = _API_OUTPUT.fullmatch(output)
    if match is None:
        raise BridgeError(f"The output ApiUrl is not the address of an API: {output}")
    return endpoint_url + emulator_gaps.base_path(match["api"], match["stage"])
