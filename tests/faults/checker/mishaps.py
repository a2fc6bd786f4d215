"""What goes wrong, by chance of one seed, until the weather calms down; and the story of what happened."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# What a call of AWS may suffer: refused before, or answered to nobody after it was carried out.
_AWS = ("throttled", "unreachable", "lost", "repeated")
# What a call of a helpdesk may suffer, with the word that follows where it was carried out all the same.
LOST = ("hang", "reset", "500", "502", "504")
REFUSED = ("connect_refused", "dns_failure", "tls_failure", "503", "503-wait", "429", "429-wait")
PAGES = ("404-page", "405-page", "login-page")
TOKEN = "token-refused"
_READS = ("get", "pull", "list", "list_notes", "token")
OUTAGES = (*LOST, *REFUSED, *PAGES, TOKEN)


@dataclass(frozen=True)
class Risks:
    """How likely each kind of mishap is, for each call, invocation or receive."""

    aws: float = 0.0
    helpdesk: float = 0.0
    kill: float = 0.0
    twice: float = 0.0
    kept: float = 0.0


@dataclass(frozen=True)
class Outage:
    """A stretch in which a helpdesk answers nothing but one kind; a share of calls it acts on all the same.

    Without a kind it answers, and is not asked. It may go on answering reads, or hit some operations only.
    """

    helpdesk: str
    kind: str
    begins: float
    ends: float
    acts: float = 0.0
    spares_reads: bool = False
    # None of them means all.
    operations: frozenset[str] = frozenset()

    def befalls(self, helpdesk: str, operation: str, now: float) -> bool:
        """Whether a call is answered with its kind."""
        is_spared = self.spares_reads and operation in _READS
        is_spared |= bool(self.operations) and operation not in self.operations
        return (
            bool(self.kind) and helpdesk == self.helpdesk and self.begins <= now < self.ends and not is_spared
        )


class Mishaps:
    """Chance, and the story that it makes."""

    def __init__(
        self, chance: random.Random, clock: Callable[[], float], risks: Risks, calm_at: float
    ) -> None:
        self.chance = chance
        self._clock = clock
        self._risks = risks
        self._begins_at = clock()
        self.calm_at = calm_at
        self.outages: list[Outage] = []
        # The longest half of a call of AWS.
        self.longest_aws_s = 0.01
        # Faults that befall single calls of a helpdesk.
        self.kinds: Sequence[str] = (*LOST, *LOST, *REFUSED, "slow", "slow", "slow")
        self.story: list[tuple[float, str]] = []
        # Items that a call of AWS could not write, or nobody knows whether it did.
        self.struck: set[str] = set()
        # Calls that are answered by nobody, so many of each.
        self.lost_operations: set[str] = set()
        self.most_lost = 0
        self._lost: Counter[str] = Counter()
        # Helpdesks that showed no list at all, until when.
        self.hidden_until: dict[str, float] = {}

    def tell(self, what: str) -> None:
        """A line of the story."""
        self.story.append((self._clock(), what))

    def happens(self, name: str) -> bool:
        """Whether a risk comes true. What is set up at the very beginning comes to no harm."""
        risk: float = getattr(self._risks, name)
        if not risk or not self._begins_at + 1 < self._clock() < self.calm_at:
            return False
        return self.chance.random() < risk

    def aws_s(self) -> float:
        """Half of the time that a call of AWS takes."""
        return self.chance.uniform(0.001, self.longest_aws_s)

    def helpdesk_s(self) -> float:
        """Half of the time that a call of a helpdesk takes."""
        return self.chance.uniform(0.02, 0.5)

    def of_aws(self, service: str) -> str | None:
        """What a call of AWS suffers."""
        if not self.happens("aws"):
            return None
        return self.chance.choice(_AWS[:2] if service == "secretsmanager" else _AWS)

    def of_helpdesk(self, helpdesk: str, operation: str) -> tuple[str, bool] | None:
        """What a call of a helpdesk suffers, and whether it is carried out all the same."""
        now = self._clock()
        for outage in self.outages:
            if outage.befalls(helpdesk, operation, now):
                return outage.kind, outage.kind in LOST and self.chance.random() < outage.acts
        if operation in ("pull", "list", "list_notes") and now < self.hidden_until.get(helpdesk, 0.0):
            return "500", False
        if operation in self.lost_operations and self._lost[operation] < self.most_lost:
            self._lost[operation] += 1
            return "hang", False
        if not self.happens("helpdesk"):
            return None
        kind = self.chance.choice(self.kinds)
        return kind, kind == "slow" or (kind in LOST and self.chance.random() < 0.5)

    def again_in_s(self) -> float | None:
        """After how long a message is delivered a second time; None where it is not."""
        return self.chance.choice((0.0, 2.0, 12.0)) if self.happens("twice") else None

    def fuse(self) -> tuple[int, bool] | None:
        """At which call an invocation dies, and whether that is still carried out; None where it lives."""
        if not self.happens("kill"):
            return None
        return self.chance.randint(1, 14), self.chance.random() < 0.5
