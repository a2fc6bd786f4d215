"""Steps of requests, as logs and the topic report them: in any order and more than once."""

from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from bridge.console.news import News, Receipts, Requests, published
from helpdesk.errors import FieldProblem
from helpdesk.models import Identity, Operation, Outcome, OutcomeKind

if TYPE_CHECKING:
    from helpdesk.store.ledger import Ledger

ACCEPTED = News(1.0, "r-1", "accepted", helpdesk="kapture", operation="add", source="shop")
WAITS = News(2.0, "r-1", "waits", code="paused")
LOGGED = News(3.0, "r-1", "succeeded", ticket_id="7")
PUBLISHED = News(3.1, "r-1", "succeeded", ticket_id="7", ticket_url="https://acme.example/7")


def test_a_request_is_as_its_latest_step_has_left_it_whatever_comes_first() -> None:
    for order in permutations([ACCEPTED, WAITS, LOGGED, PUBLISHED]):
        requests = Requests()
        for news in order:
            requests.take([news])
        requests.take(order)

        (shown,) = requests.as_json()

        assert (shown["state"], shown["at"], shown["ticket_url"]) == (
            "succeeded",
            3.0,
            "https://acme.example/7",
        )
        assert (shown["helpdesk"], shown["operation"], shown["source"]) == ("kapture", "add", "shop")


def test_why_a_request_waited_is_not_said_of_its_end() -> None:
    requests = Requests()
    requests.take([WAITS, LOGGED])

    assert requests.as_json()[0]["code"] is None


def test_ending_the_same_way_once_more_after_a_redrive_is_news() -> None:
    again = [News(news.at + 2.3, "r-1", "succeeded", ticket_id="7") for news in (LOGGED, PUBLISHED)]
    for order in permutations([LOGGED, PUBLISHED, *again]):
        requests = Requests()
        for news in order:
            requests.take([news])
        requests.take(order)

        assert requests.as_json()[0]["at"] == 5.3


def test_what_is_no_outcome_is_no_news() -> None:
    for body in (
        "no json",
        "[]",
        '"text"',
        '{"data": null}',
        '{"data": {"request_id": "r-1"}}',
        '{"time": 1}',
    ):
        assert list(published(body)) == []


def test_only_the_latest_requests_are_kept_the_latest_first() -> None:
    requests = Requests()
    requests.take(News(float(at), f"r-{at}", "accepted") for at in range(500))

    shown = requests.as_json()

    assert len(shown) == 100
    assert [request["request_id"] for request in shown[:2]] == ["r-499", "r-498"]


class _Receipt(NamedTuple):
    outcome: Outcome | None


class _Ledger:
    def __init__(self, *outcomes: Outcome) -> None:
        self._receipts = {outcome.identity.request_id: _Receipt(outcome) for outcome in outcomes}
        self.asked: list[str] = []

    def receipts(self, request_ids: list[str]) -> dict[str, _Receipt]:
        self.asked += request_ids
        return {name: self._receipts[name] for name in request_ids if name in self._receipts}


def _outcome(request_id: str, kind: OutcomeKind, **more: Any) -> Outcome:
    identity = Identity(
        request_id=request_id, operation=Operation.ADD, helpdesk="kapture", source="shop", reference=None
    )
    return Outcome(identity=identity, kind=kind, **more)


def test_an_end_that_the_log_tells_gets_address_and_words_from_the_ledger_once() -> None:
    ledger = _Ledger(
        _outcome("r-1", OutcomeKind.SUCCEEDED, ticket_id="7", ticket_url="https://acme.example/7"),
        _outcome(
            "r-2",
            OutcomeKind.REJECTED,
            message="not valid",
            problems=(FieldProblem("ticket.title", "is missing"),),
        ),
    )
    requests, receipts = Requests(), Receipts()
    rejected = News(4.0, "r-2", "rejected", code="invalid_request")
    got, waits = News(5.0, "r-3", "succeeded", operation="get"), News(6.0, "r-4", "waits", code="paused")

    for _ in range(3):
        # The log's last lines are read again at each look.
        requests.take([LOGGED, rejected, got, waits])
        requests.take(receipts.read(cast("Ledger", ledger), requests.latest))

    shown = {request["request_id"]: request for request in requests.as_json()}
    assert (shown["r-1"]["ticket_url"], shown["r-1"]["at"]) == ("https://acme.example/7", 3.0)
    assert shown["r-2"]["message"] == "not valid; ticket.title: is missing"
    assert sorted(ledger.asked) == ["r-1", "r-2"]


def test_a_receipt_of_another_end_than_the_logs_says_nothing_of_it_and_the_next_end_is_read_anew() -> None:
    ledger = _Ledger(
        _outcome("r-1", OutcomeKind.SUCCEEDED, ticket_id="7", ticket_url="https://acme.example/7")
    )
    requests, receipts = Requests(), Receipts()

    for step in (News(2.0, "r-1", "parked", code="expired"), News(9.0, "r-1", "succeeded", ticket_id="7")):
        requests.take([step])
        requests.take(receipts.read(cast("Ledger", ledger), requests.latest))
        if step.state == "parked":
            assert requests.as_json()[0]["ticket_url"] is None

    assert requests.as_json()[0]["ticket_url"] == "https://acme.example/7"
    assert ledger.asked == ["r-1", "r-1"]
