"""What every function has: its settings, its clock, AWS, its log and its metrics."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property

from aws_lambda_powertools import Logger, Metrics

from helpdesk.runtime import invocation
from helpdesk.runtime.aws import Clients
from helpdesk.settings import Settings, load_settings


class BaseParts:
    """The parts that need no helpdesk; each is made when first used, and kept."""

    logger: Logger = invocation.logger
    metrics: Metrics = invocation.metrics
    # Seconds that only grow, for what may not follow a clock that is set.
    monotonic: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time
    ) -> None:
        self.environment = environment
        # The time of day, in seconds.
        self.clock = clock

    @cached_property
    def settings(self) -> Settings:
        """What an operator has set. Raises SettingsError."""
        return load_settings(self.environment)

    @cached_property
    def clients(self) -> Clients:
        """The AWS clients."""
        # One for each thread that calls, and for each that reads a helpdesk's gate.
        return Clients(self.settings.threads + len(self.settings.helpdesks))
