"""Steps of requests, as logs and the topic report them: in any order and more than once."""

from itertools import permutations

from bridge.console.news import News, Requests, published

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
    assert [one["request_id"] for one in shown[:2]] == ["r-499", "r-498"]
