"""Says what is parked in people's words: how much of what code, why, and the command against it."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from bridge.operating.words import near_time
from bridge.plain import as_argument, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from bridge.operating.operations import Listing, ParkedCopy

_MOST_REASONS = 3
_MOST_IDS = 5
_MOST_SOURCES = 3
_DROP, _DROP_ONE = "drop --code {code} --why REASON", "drop --request-id {id} --why REASON"
_REDRIVE, _REDRIVE_ONE = "redrive --code {code}", "redrive --request-id {id}"
_SENDER = (
    "The sender is wrong. Correct it and let it send again, then drop these; or edit each:",
    _DROP,
    "edit {last}",
)
_REFUSED = ("The helpdesk refuses them, in its words above. Mend what they name, then:", _REDRIVE)
_MAY_EXIST = ("Their tickets may exist. Look at the helpdesk: send what is not there, drop what is there:",)
# What there is to do, and the commands for it; docs/operate.md says more.
ADVICE: dict[str, tuple[str, ...]] = {
    "not_json": _SENDER,
    "invalid_request": _SENDER,
    "refused_by_helpdesk": _REFUSED,
    "not_found": _REFUSED,
    "conflict": _REFUSED,
    "too_large": _REFUSED,
    "ticket_not_found": ("The helpdesk does not show these tickets. Drop them:", _DROP),
    "out_of_date": ("A newer update was made. Drop them:", _DROP),
    "request_id_reused": ("The sender uses an id twice. Each gets an id of its own by:", "edit {last}"),
    "unknown_reference": ("No ticket had the reference. When it has one:", _REDRIVE),
    "outcome_unknown": (*_MAY_EXIST, _REDRIVE_ONE, _DROP_ONE),
    "crashed": (*_MAY_EXIST, _REDRIVE_ONE, _DROP_ONE),
    "expired": ("They have waited for too long. When the reason is gone:", _REDRIVE),
    "undelivered": ("EventBridge or SQS has put them here. Read the messages:", "parked --json"),
}
_OF_OTHERS = ("See docs/operate.md, dead-letters. To drop them:", _DROP)


def in_words(listing: Listing, command: Callable[[str], str]) -> Iterator[str]:
    """Lines for people: how many are parked for each reason, then each reason with the commands against it.

    `command` completes a command of ours, so that it means this stack.
    """
    if not listing.about:
        yield "Nothing is parked."
    if not listing.copies:
        return
    verb = "is" if count_requests(listing.copies) == 1 else "are"
    yield f"{counted(listing.copies)} {verb} parked, the oldest since {_since(listing.copies)}."
    yield from by_code(listing.copies)
    entries = [copy for copy, _ in entries_of(listing.copies)]
    for code, _ in Counter(copy.code for copy in entries).most_common():
        yield ""
        yield from _of_code(code, [copy for copy in entries if copy.code == code], command)


def entries_of(copies: Iterable[ParkedCopy]) -> list[tuple[ParkedCopy, int]]:
    """Each trouble once, and how many copies tell of it: a sender may send the same request again."""
    by_trouble: dict[tuple[str, str], list[ParkedCopy]] = {}
    for copy in copies:
        by_trouble.setdefault((copy.request_id, copy.code), []).append(copy)
    return [(alike[-1], len(alike)) for alike in by_trouble.values()]


def count_requests(copies: Iterable[ParkedCopy]) -> int:
    """How many requests the copies are of."""
    return len({copy.request_id for copy in copies})


def counted(copies: Collection[ParkedCopy]) -> str:
    """How many requests the copies are of, and how many copies where those are more."""
    count = count_requests(copies)
    return f"{count} request{'' if count == 1 else 's'}{_of_copies(count, copies)}"


def by_code(copies: Iterable[ParkedCopy]) -> list[str]:
    """A line for each code, with how many requests, the most frequent first."""
    by_codes: dict[str, list[ParkedCopy]] = {}
    for copy in copies:
        by_codes.setdefault(copy.code, []).append(copy)
    counts = Counter({code: count_requests(alike) for code, alike in by_codes.items()})
    return [
        plain(f"{count:6}  {code}{_of_copies(count, by_codes[code])}") for code, count in counts.most_common()
    ]


def _of_copies(requests: int, copies: Collection[ParkedCopy]) -> str:
    return f" ({len(copies)} copies)" if len(copies) > requests else ""


def _of_code(code: str, copies: Sequence[ParkedCopy], command: Callable[[str], str]) -> Iterator[str]:
    sources = Counter(copy.source or "unknown" for copy in copies).most_common()
    others = f" and {len(sources) - _MOST_SOURCES} more" if len(sources) > _MOST_SOURCES else ""
    names = ", ".join(f"{source} ({count})" for source, count in sources[:_MOST_SOURCES])
    yield plain(f"{code}, since {_since(copies)}, from {names}{others}:")
    reasons = Counter(tuple(copy.why) for copy in copies).most_common()
    for why, count in reasons[:_MOST_REASONS]:
        alike = [copy for copy in copies if tuple(copy.why) == why]
        ids = ", ".join(map(_named, alike[:_MOST_IDS])) + (", …" if count > _MOST_IDS else "")
        yield plain(f"{count:6}  {ids}")
        yield from (plain(f"        {line}") for line in why)
    if len(reasons) > _MOST_REASONS:
        left = sum(count for _, count in reasons[_MOST_REASONS:])
        yield f"{left:6}  for {len(reasons) - _MOST_REASONS} other reasons: --json lists all"
    words, *commands = ADVICE.get(code, _OF_OTHERS)
    yield f"  {words}"
    request_id = copies[0].request_id
    named = {"code": shlex.quote(code), "id": shlex.quote(request_id), "last": as_argument(request_id)}
    for text in commands:
        yield plain(f"  {command(text.format(**named))}")


def _named(copy: ParkedCopy) -> str:
    return " ".join(filter(None, (copy.attributes.get("operation"), copy.request_id)))


def _since(copies: Sequence[ParkedCopy]) -> str:
    return near_time(min(copy.sent_at for copy in copies))
