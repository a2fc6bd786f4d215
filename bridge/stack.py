"""Brings the whole local stack up and takes it down."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import requests
from botocore.exceptions import BotoCoreError, ClientError

from bridge import emulator, emulator_gaps, processes, sam
from bridge.errors import BridgeError
from bridge.state import EMULATOR, PROJECT, Stack
from bridge.subscriptions import subscribe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge.processes import Group
    from bridge.state import StateFolder

SIMULATOR = "kapture-simulator"
SIMULATOR_SECONDS = 20.0
LOCAL_TOKEN = "local-token"  # noqa: S105 - the simulator's, worth nothing elsewhere
OUTCOMES_QUEUE = "bridge-outcomes"
_API_OUTPUT = re.compile(r"https://(?P<api>[a-z0-9]+)\.execute-api\.[^/]+/(?P<stage>[^/]+)/?")


class _Wishes(NamedTuple):
    kapture_url: str | None
    kapture_token: str | None
    enforce_iam: bool


def up(
    state: StateFolder,
    *,
    kapture_url: str | None = None,
    kapture_token: str | None = None,
    enforce_iam: bool = False,
    report: Callable[[str], None],
) -> Stack:
    """Start and deploy everything; on a stack that runs already, build and deploy again onto it.

    With `enforce_iam` the roles of the template are checked; a running emulator keeps to what it was started
    with. Whatever ends it early, Ctrl-C too, what it started is stopped again. `report` gets a line for each
    step. Raises BridgeError.
    """
    if kapture_url is not None:
        kapture_url = kapture_url.rstrip("/")
        if not re.fullmatch(r"https?://[^/\s]+", kapture_url):
            raise BridgeError(f"--kapture-url is scheme and host only, without a path: not {kapture_url}")
    with state.locked():
        running = _running_stack(state)
        if running is None:
            # What a crash has left.
            state.stop_all()
        with _undone_on_failure(state, keep=state.groups()):
            try:
                return _up(state, running, _Wishes(kapture_url, kapture_token, enforce_iam), report)
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


def _up(state: StateFolder, running: Stack | None, wishes: _Wishes, report: Callable[[str], None]) -> Stack:
    began = time.monotonic()

    def done(step: str) -> None:
        processes.check_stop()
        report(f"{time.monotonic() - began:5.1f} s  {step}")

    # The build needs nothing that runs, so everything else starts beside it.
    build = sam.start_build(state)
    simulator = state.running(SIMULATOR)
    starts_simulator = wishes.kapture_url is None and simulator is None
    if starts_simulator:
        simulator = _start_simulator(state, wishes.kapture_token or LOCAL_TOKEN)
    if running is None:
        endpoint_url = emulator.start_ready(state, enforce_iam=wishes.enforce_iam)
        done(f"emulator (MiniStack) answers at {endpoint_url}, log {state.log(EMULATOR)}")
    else:
        endpoint_url = running.endpoint_url
        done(f"emulator (MiniStack) runs already at {endpoint_url}")
    kapture_url = wishes.kapture_url or _simulator_url(state, simulator)
    done(f"Kapture is {kapture_url}" + (f", log {state.log(SIMULATOR)}" if simulator else ""))
    aws = emulator.Clients(endpoint_url)
    aws.s3.create_bucket(Bucket=sam.ARTIFACTS_BUCKET)
    outcomes_queue_url = aws.sqs.create_queue(QueueName=OUTCOMES_QUEUE)["QueueUrl"]

    sam.finish(state, build)
    done(f"sam build, log {state.log(build.name)}")
    deploy = sam.start_deploy(state, endpoint_url, {"KaptureUrl": kapture_url})
    sam.finish(state, deploy)
    emulator_gaps.fill(aws, sam.STACK_NAME)
    done(f"sam deploy, log {state.log(deploy.name)}")

    stack = _describe(aws, outcomes_queue_url, kapture_url)
    subscribe(aws, queue_url=outcomes_queue_url, topic_arn=stack.outcomes_topic_arn, raw=True)
    if running is None or starts_simulator or wishes.kapture_token is not None:
        _set_token(aws, stack, wishes.kapture_token or LOCAL_TOKEN)
    if wishes.kapture_url is not None and simulator is not None:
        state.stop([simulator])
    elif wishes.kapture_url is None and wishes.kapture_token is not None and not starts_simulator:
        _tell_simulator(kapture_url, wishes.kapture_token)
    state.write_stack(stack)
    done(f"ready, described in {state.stack_file}")
    return stack


def _running_stack(state: StateFolder) -> Stack | None:
    try:
        return state.read_stack()
    except BridgeError:
        return None


def _start_simulator(state: StateFolder, token: str) -> Group:
    ready_file = _ready_file(state)
    ready_file.unlink(missing_ok=True)
    module = "bridge.simulators.kapture"
    command = [sys.executable, "-m", module, "--port", "0", "--token", token, "--ready-file", str(ready_file)]
    return state.start(SIMULATOR, command, env=emulator.bare_environment(state), cwd=PROJECT)


def _simulator_url(state: StateFolder, simulator: Group | None) -> str:
    """Where the simulator answers, once it does. Raises BridgeError with its log's name when it does not."""
    deadline = time.monotonic() + SIMULATOR_SECONDS
    while simulator and processes.members(simulator) and time.monotonic() < deadline:
        processes.check_stop()
        try:
            url: str = json.loads(_ready_file(state).read_text())["url"]
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.05)
        else:
            return url
    log = state.log(SIMULATOR)
    raise BridgeError(f"The Kapture simulator did not start. Its log is {log}:\n{log.read_text()[-2000:]}")


def _tell_simulator(kapture_url: str, token: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.put(f"{kapture_url}/_control/token", json={"token": token}, timeout=10)
        answer.raise_for_status()


def _ready_file(state: StateFolder) -> Path:
    return state.temporary / "kapture-simulator.json"


def _describe(aws: emulator.Clients, outcomes_queue_url: str, kapture_url: str) -> Stack:
    described = aws.cloudformation.describe_stacks(StackName=sam.STACK_NAME)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    try:
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
            # On AWS the output is the ARN; the emulator's Ref of a secret is its name.
            token_secret_arn=aws.secretsmanager.describe_secret(SecretId=outputs["TokenSecretArn"])["ARN"],
            ledger_table=outputs["LedgerTableName"],
            kapture_url=kapture_url,
        )
    except KeyError as error:
        raise BridgeError(f"The deployed template has no output {error}; it has {sorted(outputs)}") from error


def _local_api_url(endpoint_url: str, output: str) -> str:
    """The emulator answers for an API under a path, so that no Host header and no DNS entry is needed."""
    match = _API_OUTPUT.fullmatch(output)
    if match is None:
        raise BridgeError(f"The output ApiUrl is not the address of an API: {output}")
    return f"{endpoint_url}/_aws/execute-api/{match['api']}/{match['stage']}"


def _set_token(aws: emulator.Clients, stack: Stack, token: str) -> None:
    aws.secretsmanager.put_secret_value(
        SecretId=stack.token_secret_arn, SecretString=json.dumps({"token": token})
    )
