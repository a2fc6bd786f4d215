"""Somebody at a terminal, for commands that ask."""

import io


class Terminal(io.BytesIO):
    """What CliRunner takes as `input`: a terminal at which these lines are typed."""

    def __init__(self, answers: str) -> None:
        super().__init__(answers.encode())

    def isatty(self) -> bool:
        return True
