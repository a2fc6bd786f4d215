"""Why a request was not executed: the class says what to do, `code` says why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """One wrong field: `field` is its dotted path in the request, `problem` says what is expected."""

    field: str
    problem: str


class HelpdeskError(Exception):
    """A call that did not succeed.

    `code` is stable and machine-readable; `message` is for people and never holds a token.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RejectedError(HelpdeskError):
    """The request is wrong and stays wrong: repeating it changes nothing."""

    def __init__(self, code: str, message: str, problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(code, message)
        self.problems = problems


class UnavailableError(HelpdeskError):
    """Nothing was done: make the same request again, after `retry_after` seconds where given."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after


class NotReachedError(UnavailableError):
    """Something else replied in the helpdesk's place: a web server or a proxy that knows no such call."""


class UnauthorizedError(HelpdeskError):
    """The helpdesk refuses our token. Nothing was done.

    `operation` says whose key is refused; None where one token opens all operations.
    """

    def __init__(self, code: str, message: str, operation: str | None = None) -> None:
        super().__init__(code, message)
        self.operation = operation


class OutcomeUnknownError(HelpdeskError):
    """The call may or may not have had its effect: look it up before anything is repeated."""


class SettingsError(Exception):
    """The environment is not usable; the message lists every bad variable."""
