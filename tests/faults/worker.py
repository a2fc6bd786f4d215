"""Functions that run once each, in processes of their own, so that they can be killed.

For each line of JSON on stdin one process is forked, cold but for its imports; its id is printed, and when
it has ended its exit status. A line holds `handler`, `event`, `environment`, `passed` (seconds on top of the
time of day), `answer` (the file that gets what the handler returns), `log` (the file that gets what is
printed) and `dies`: whether the process is killed just before it answers.
"""

import importlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.loaders import create_loader

from helpdesk.parts import Parts

HANDLERS = ("ticket_queue", "ticket_api", "resolve_doubts")


@dataclass
class _Context:
    function_name: str = "test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:test"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


def _invoke(order: dict[str, Any]) -> None:
    os.environ.update(order["environment"])
    handler = importlib.import_module(order["handler"]).handler
    handler.use(Parts(os.environ, lambda: time.time() + order["passed"]))
    answer = handler(order["event"], _Context())
    if order["dies"]:
        os.kill(os.getpid(), signal.SIGKILL)
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def _run_child(order: dict[str, Any]) -> None:
    status = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
        _invoke(order)
        status = 0
    except BaseException:  # noqa: BLE001  # a forked process must not run on in its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Serves until stdin ends."""
    # Read once here, the models of the AWS services need not be read in each process.
    botocore.session.create_loader = cache(create_loader)
    for service in ("dynamodb", "secretsmanager", "sns", "sqs"):
        boto3.Session(region_name="eu-west-1").client(service)
    for handler in HANDLERS:
        importlib.import_module(handler)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run_child(json.loads(line))
        print(child, flush=True)  # noqa: T201  # read by the test
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  # as above


if __name__ == "__main__":
    main()
