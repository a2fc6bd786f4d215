"""The text of a marker: what it is made of, and how it is read again."""

import html
import textwrap

import pytest

from helpdesk.clients.markers import (
    Markers,
    ends_with_marker,
    last_marker,
    marker_in,
    oldest_first,
    own_marker,
    with_marker,
)
from helpdesk.clients.secrets import marker_keys_in
from helpdesk.errors import UnavailableError
from helpdesk.models import NewTicket, Ticket

OURS = Markers(lambda: (b"a" * 40,), "ledger")
MARKER = OURS.of("kapture", "order-761316")


def ticket(details: str | None = None, title: str = "t", **more: object) -> Ticket:
    return Ticket(helpdesk="kapture", ticket_id="1", title=title, details=details, raw=dict(more))


def test_ids_that_met_in_a_digest_without_a_key_have_different_markers_of_at_least_80_bits() -> None:
    first, second = (OURS.of("kapture", request_id) for request_id in ("order-761316", "contact:20d603"))

    assert first != second
    assert first[3:23] != second[3:23]
    assert min(len(marker) - 3 for marker in (first, second)) * 4 >= 80


def test_another_key_gives_other_markers_and_knows_none_of_ours() -> None:
    other = Markers(lambda: (b"b" * 40,), "ledger")

    assert other.of("kapture", "1") != OURS.of("kapture", "1")
    assert not other.is_ours(OURS.of("kapture", "1"))


def test_the_newest_key_writes_and_all_recognise() -> None:
    both = Markers(lambda: (b"b" * 40, b"a" * 40), "ledger")

    assert both.of("kapture", "1") == Markers(lambda: (b"b" * 40,), "ledger").of("kapture", "1")
    assert both.is_ours(OURS.of("kapture", "1"))


def test_where_the_helpdesk_ends_and_the_id_begins_is_part_of_the_marker() -> None:
    assert OURS.of("kapture", "socialboards#1") != OURS.of("kapture#socialboards", "1")
    assert OURS.of("kapture", "1") != OURS.of("socialboards", "1")


@pytest.mark.parametrize(
    "text",
    [
        f"words\n\n[{MARKER}]",
        MARKER.upper(),
        html.escape(f"<b>&[{MARKER}]"),
        "\n".join(textwrap.wrap("word " * 14 + f"[{MARKER}]", 78)),
        f"[{MARKER.replace('-', '-\n')}]",
        f"[tb-{'0' * 32}] [{MARKER}]",
    ],
    ids=["as-with_marker", "capitals", "escaped", "wrapped", "broken-at-the-hyphen", "after-another"],
)
def test_a_marker_is_read_as_helpdesks_and_mails_write_it(text: str) -> None:
    assert last_marker(text) == MARKER
    assert OURS.is_ours(last_marker(text))


@pytest.mark.parametrize("text", [MARKER[:-1], MARKER + "0", "x" + MARKER, "tb-" + "0" * 31, ""])
def test_what_is_cut_or_longer_is_no_marker(text: str) -> None:
    assert last_marker(text) is None


def test_a_text_that_only_looks_like_a_marker_is_not_ours() -> None:
    assert not OURS.is_ours("tb-" + "0" * 32)
    assert not OURS.is_ours("tb-" + "0" * 16)
    assert not OURS.is_ours(None)


def test_markers_of_before_there_was_a_key_are_recognised_by_their_length() -> None:
    old = OURS.old_of("kapture", "1")

    assert (len(old), last_marker(f"words [{old}]"), OURS.is_ours(old)) == (19, old, True)


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("details", ticket(f"[tb-{'0' * 32}]\n\n[{MARKER}]", title=f"tb-{'1' * 32}")),
        ("title", ticket(f"[tb-{'0' * 32}]", title=f"t [{MARKER}]")),
        ("extra:ours", ticket(f"[tb-{'0' * 32}]", info={"Ours": [MARKER]}, theirs=f"tb-{'1' * 32}")),
        (
            "custom_field:7",
            ticket(f"[tb-{'0' * 32}]", fields=[{"id": 7, "value": MARKER}, {"id": 8, "value": "x"}]),
        ),
    ],
)
def test_a_tickets_own_marker_is_the_last_in_its_field(field: str, shown: Ticket) -> None:
    assert marker_in(shown, field) == own_marker(shown, field) == MARKER
    assert ends_with_marker(shown, field)


@pytest.mark.parametrize("field", ["details", "title", "extra:ours"])
def test_a_marker_stands_behind_what_was_there(field: str) -> None:
    given = NewTicket(title="t", details=f"[tb-{'0' * 32}]", extra={"ours": "theirs"})

    marked = with_marker(given, MARKER, field)

    place = {"details": marked.details, "title": marked.title, "extra:ours": str(marked.extra["ours"])}[field]
    assert last_marker(place) == MARKER


@pytest.mark.parametrize(
    "text", [f"> on Monday\n> [{MARKER}]", f"I mean [{MARKER}], please", f"&gt; [{MARKER}]"]
)
def test_a_quotation_in_a_mail_is_no_planted_marker(text: str) -> None:
    assert not ends_with_marker(ticket(text), "details")


def test_the_oldest_ticket_comes_first_and_ids_decide_where_times_do_not() -> None:
    ids = ["10", "9", "11"]
    same = [ticket().model_copy(update={"ticket_id": ticket_id}) for ticket_id in ids]

    assert [ticket.ticket_id for ticket in oldest_first(same)] == ["9", "10", "11"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": "short"}', '{"keys": ["short"]}', '{"keys": []}'])
def test_a_secret_without_a_long_key_is_no_key(text: str) -> None:
    with pytest.raises(UnavailableError, match="marker_key_malformed"):
        marker_keys_in(text)
