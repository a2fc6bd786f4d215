"""What a helpdesk, or the way to it, can do wrong: each fault by its name, at every trigger that meets it.

A fault ends in one of four ways. `HELD`: nothing was done, and the request succeeds later. `SHUT`: the same,
and nothing else is tried meanwhile. `DOUBT`: it may have been done; that is said, looked up and settled.
`NO`: it is rejected. Each runs once for each helpdesk at which it can happen.
"""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from enum import Enum, auto
from time import time
from typing import Any, NoReturn

import pytest
import trustme

from bridge.simulators.faults import Drip, Fault, FaultRule
from bridge.simulators.kapture.account import KaptureSimulator
from bridge.simulators.server import running
from bridge.simulators.socialboards.account import MINT
from tests.accounts import ACCOUNTS, Account, KaptureAccount, SocialboardsAccount, at
from tests.deployment import Answer, Context
from tests.faults.scene import Scene, add, get
from tests.functional.scripted import a_port_that_refuses
from tests.waiting import eventually

# Powertools keeps one set of metrics a process; here the API and the consumer share it when both run.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

ALL = ("add", "update", "get")


class End(Enum):
    HELD = auto()
    SHUT = auto()
    DOUBT = auto()
    NO = auto()


@dataclass(frozen=True)
class Named:
    """A fault, for as long as the block of `on` lasts, and what it must come to.

    One that only certain helpdesks can have names them in `accounts`; `call` is the one that suffers it where
    that is none of a request's own.
    """

    name: str
    end: End
    fault: Fault | Callable[[Account], Fault] | None = None
    way: Callable[[Scene], AbstractContextManager[None]] | None = None
    operations: tuple[str, ...] = ALL
    accounts: Sequence[type[Account]] = ACCOUNTS
    call: str | None = None

    @contextmanager
    def on(self, scene: Scene) -> Iterator[None]:
        with ExitStack() as stack:
            if self.way:
                stack.enter_context(self.way(scene))
            if fault := self.fault_at(scene.account):
                account = scene.account
                calls = {account.adds, account.updates, account.comments, account.gets, account.lists}
                suffering = [self.call] if self.call else sorted(calls)
                scene.helpdesk.faults.add(*(FaultRule(operation=call, fault=fault) for call in suffering))
                stack.callback(scene.helpdesk.faults.clear)
            yield

    def fault_at(self, account: Account) -> Fault | None:
        """The fault as this helpdesk has it."""
        return self.fault(account) if callable(self.fault) else self.fault


# ── before anything is sent ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def _address(scene: Scene, url: str) -> Iterator[None]:
    """The functions' helpdesk is at the URL for now."""
    scene.point_to(url)
    yield
    scene.point_to(scene.url)


@contextmanager
def _refusing(scene: Scene) -> Iterator[None]:
    with a_port_that_refuses() as port, _address(scene, f"http://127.0.0.1:{port}"):
        yield


@contextmanager
def _nameless(scene: Scene) -> Iterator[None]:
    def unknown(*_: Any, **__: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch, _address(scene, scene.account.address):
        patch.setattr(socket, "getaddrinfo", unknown)
        yield


@contextmanager
def _untrusted(scene: Scene) -> Iterator[None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with running(scene.helpdesk.app(), ssl_context=context) as url, _address(scene, url):
        yield


@contextmanager
def _full(scene: Scene) -> Iterator[None]:
    # A listener whose queue is full lets no further connection come about.
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        scene.deployment.set(CONNECT_TIMEOUT_S="0.5")
        with _address(scene, f"http://127.0.0.1:{listener.getsockname()[1]}"):
            yield
        scene.deployment.set(CONNECT_TIMEOUT_S="3")


@contextmanager
def _impatient(scene: Scene) -> Iterator[None]:
    """Answers are waited for much less long than they take; a token, which comes in time, a little longer."""
    mints = isinstance(scene.account, SocialboardsAccount)
    scene.deployment.set(READ_TIMEOUT_S="1.5" if mints else "0.5")
    yield
    scene.deployment.set(READ_TIMEOUT_S="15")


@contextmanager
def _anew(scene: Scene) -> Iterator[None]:
    """The functions have no access token yet."""
    scene.deployment.restart()
    yield


# ── all by name ──────────────────────────────────────────────────────────────────────────────────────────


def _after_and_before(status: int) -> list[Named]:
    return [
        Named(f"{status}-after-commit", End.DOUBT, Fault(status=status, act=True)),
        Named(f"{status}-before-commit", End.DOUBT, Fault(status=status)),
    ]


def _refused(name: str, status: int, operations: tuple[str, ...] = ALL) -> Named:
    """In the helpdesk's own words."""
    return Named(
        name, End.NO, lambda account: Fault(status=status, body=account.refusal), operations=operations
    )


def _page(name: str, status: int, end: End = End.HELD, *, body: str | None = None) -> Named:
    """In the words of whatever else stands on the way."""
    said = f"<html><head><title>{status}</title></head></html>" if body is None else body
    return Named(name, end, Fault(status=status, body=said))


def _slow_down(name: str, retry_after: str | None, *, status: int = 429, end: End = End.SHUT) -> Named:
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return Named(name, end, Fault(status=status, headers=headers))


def _in_an_hour(_: Account) -> Fault:
    return Fault(status=429, headers={"Retry-After": formatdate(time() + 3600, usegmt=True)})


def _mint(name: str, end: End, fault: Fault, way: Any = _anew) -> Named:
    return Named(f"mint-{name}", end, fault, way, accounts=[SocialboardsAccount], call=MINT)


FAULTS = [
    Named("connect-refused", End.HELD, way=_refusing),
    Named("dns-failure", End.HELD, way=_nameless),
    Named("tls-failure", End.HELD, way=_untrusted),
    Named("connect-timeout", End.HELD, way=_full),
    Named("read-timeout-after-commit", End.DOUBT, Fault(delay_after_s=30), _impatient),
    Named("read-timeout-before-commit", End.DOUBT, Fault(delay_after_s=30, status=503), _impatient),
    Named("reset-after-commit", End.DOUBT, Fault(reset="after")),
    Named("reset-before-commit", End.DOUBT, Fault(reset="before")),
    Named("slow-drip-body", End.DOUBT, Fault(drip=Drip(chunk_bytes=1, interval_s=0.5)), _impatient),
    *_after_and_before(500),
    *_after_and_before(502),
    *_after_and_before(504),
    Named("200-empty", End.DOUBT, Fault(answer="empty")),
    Named("200-invalid-json", End.DOUBT, Fault(body='{"status": "success",', act=True)),
    Named("200-truncated-json", End.DOUBT, Fault(truncate=10)),
    # A get without ids shows no tickets, and an update's answer need not repeat its own.
    Named("200-success-without-id", End.DOUBT, Fault(answer="without_id"), operations=("add",)),
    Named("200-failed-body", End.NO, lambda account: Fault(body=account.refusal)),
    Named("200-failed-capitalised", End.NO, lambda account: Fault(body=account.refusal_capitalised)),
    _refused("400", 400),
    Named("403", End.SHUT, Fault(status=403)),
    _refused("404-on-update", 404, operations=("update", "get")),
    _refused("409", 409),
    _refused("413", 413),
    _refused("422", 422),
    # The same without the helpdesk's own words: no such call is known, so that it was not reached, ...
    _page("404-web-server", 404),
    _page("404-empty", 404, body=""),
    _page("404-proxy-json", 404, body='{"timestamp": 1, "status": 404, "error": "Not Found"}'),
    _page("404-gateway-json", 404, body='{"errorCode": "NotFound", "message": "no route"}'),
    _page("405-web-server", 405),
    _page("405-empty", 405, body=""),
    _page("410-web-server", 410),
    _page("415-web-server", 415),
    # ... or somebody has read the request, and who that was is not known ...
    _page("400-web-server", 400, End.DOUBT),
    _page("409-empty", 409, End.DOUBT, body=""),
    _page("422-proxy-json", 422, End.DOUBT, body='{"errors": {"title": ["is too long"]}}'),
    Named("200-somebody-elses-json", End.DOUBT, Fault(body='{"status": "ok", "message": "hello"}')),
    # ... or whoever is on the way takes no request of this size.
    _page("413-web-server", 413, End.NO),
    Named("200-html-login-page", End.SHUT, Fault(html=True)),
    Named("302-to-login", End.SHUT, Fault(redirect="/login.html")),
    Named("302-to-other-host", End.HELD, Fault(redirect="https://elsewhere.invalid/")),
    Named(
        "auth-key-expired",
        End.SHUT,
        Fault(body='{"message": "API Expired", "status": "failed"}'),
        accounts=[KaptureAccount],
    ),
    _slow_down("429", None, end=End.HELD),
    _slow_down("429-retry-after-seconds", "30"),
    Named("429-retry-after-http-date", End.SHUT, _in_an_hour),
    _slow_down("429-retry-after-negative", "-5", end=End.HELD),
    _slow_down("429-retry-after-absurd", "99999999999"),
    _slow_down("503-with-retry-after", "30", status=503),
    # The answer to an add holds the only id that there is, and a get leaves out what it did not ask for.
    Named(
        "wrong-id-echoed",
        End.DOUBT,
        Fault(answer="wrong_id"),
        operations=("update",),
        # The other's answer to an update names no ticket.
        accounts=[KaptureAccount],
    ),
    # A call that mints may be made again, whatever has become of it.
    _mint("503", End.HELD, Fault(status=503)),
    _mint("500", End.HELD, Fault(status=500)),
    _mint("reset-after-commit", End.HELD, Fault(reset="after")),
    _mint("read-timeout", End.HELD, Fault(delay_after_s=30), _impatient),
    _mint("404-web-server", End.HELD, Fault(status=404, body="<html>Not Found</html>")),
    _mint("404-proxy-json", End.HELD, Fault(status=404, body='{"status": 404, "error": "Not Found"}')),
    _mint("without-a-token", End.HELD, Fault(body='{"token_type": "bearer", "expires_in": 3599}')),
    _mint("retry-after", End.SHUT, Fault(status=429, headers={"Retry-After": "30"})),
    _mint("refused", End.SHUT, Fault(status=400, body='{"error": "invalid_grant"}')),
    _mint("refused-in-the-envelope", End.SHUT, Fault(body='{"data": null, "errorCode": 3}')),
]


def _each(operation: str) -> pytest.MarkDecorator:
    pairs = [
        pytest.param(account, named, id=f"{account.name}-{named.name}")
        for named in FAULTS
        if operation in named.operations
        for account in named.accounts
    ]
    return pytest.mark.parametrize(("account", "named"), pairs, indirect=["account"])


def only(*names: str, accounts: Sequence[type[Account]] = ACCOUNTS) -> pytest.MarkDecorator:
    """Names the faults that a test stands for, and the helpdesks that can have them."""
    pairs = [
        pytest.param(account, name, id=f"{account.name}-{name}") for name in names for account in accounts
    ]
    return pytest.mark.parametrize(("account", "fault"), pairs, indirect=["account"])


def _acts(scene: Scene, named: Named) -> bool:
    fault = named.fault_at(scene.account)
    return fault is not None and fault.acts


@_each("add")
def test_add(scene: Scene, named: Named) -> None:
    scene.make("earlier")
    with named.on(scene):
        scene.deployment.send(add("queued"))
        posted = scene.deployment.call("POST", "/tickets", add("posted"))
        scene.consume()
    assert posted.status == 202

    if named.end is End.SHUT:
        _assert_shut(scene)
    names = ("queued", "posted")
    # The first call that fails may close the gate before the other begins: that one waits instead.
    tried = [name for name in names if named.end is not End.DOUBT or scene.types(name)]
    assert tried
    for name in tried:
        _assert_first(scene, named, name)
    scene.until_quiet()
    for name in names:
        _assert_last(scene, named if name in tried else replace(named, end=End.HELD), name, "ticket.added")
        assert len(scene.tickets(name)) == (0 if named.end is End.NO else 1)


@_each("add")
def test_add_with_a_wait(scene: Scene, named: Named) -> None:
    scene.make("earlier")
    with named.on(scene), ThreadPoolExecutor() as beside:
        consumer = beside.submit(_consume_what_comes, scene)
        # There is nothing to wait for where nothing is done.
        context = Context(29_000 if named.end in (End.DOUBT, End.NO) else 4_000)
        answer = scene.deployment.call(
            "POST", "/tickets", add("posted"), {"Prefer": "wait=25"}, context=context
        )
        consumer.result()

    statuses = {
        End.HELD: 202,
        End.SHUT: 202,
        End.DOUBT: 504,
        End.NO: 413 if named.name.startswith("413") else 422,
    }
    assert answer.status == statuses[named.end]
    assert answer.body["request_id"] == "posted"
    scene.until_quiet()
    _assert_last(scene, named, "posted", "ticket.added")
    assert len(scene.tickets("posted")) == (0 if named.end is End.NO else 1)


@_each("update")
def test_update(scene: Scene, named: Named) -> None:
    queued, patched = scene.make("queued", "patched")
    state = scene.account.states[0]
    with named.on(scene):
        scene.deployment.send(scene.update("u-queued", queued))
        body = {"request_id": "u-patched", "changes": {"sub_status": state}}
        assert scene.deployment.call("PATCH", f"/tickets/{patched}", body).status == 202
        scene.consume()

    # A repeat does no harm, so there is no doubt to tell.
    repeatable = replace(named, end=End.HELD) if named.end is End.DOUBT else named
    for name in ("u-queued", "u-patched"):
        _assert_first(scene, repeatable, name)
    scene.until_quiet()

    for name in ("u-queued", "u-patched"):
        _assert_last(scene, repeatable, name, "ticket.updated")
        expected = scene.account.first_state if named.end is End.NO else state
        assert scene.ticket(name[2:]).state == expected


@_each("update")
def test_comment(scene: Scene, named: Named) -> None:
    [ticket_id] = scene.make("commented")
    _say_before(scene, ticket_id)
    with named.on(scene):
        scene.deployment.send(scene.update("c", ticket_id, changes=scene.account.comment("said once")))
        scene.consume()

    _assert_first(scene, named, "c")
    scene.until_quiet()

    said = ["said before", "said once"]
    if named.end is End.DOUBT and not scene.account.comments_can_be_looked_up:
        assert scene.types("c") == ["ticket.unknown", "ticket.parked"]
        assert scene.parked("c") == ["outcome_unknown"]
        expected = said if _acts(scene, named) else said[:1]
    else:
        _assert_last(scene, named, "c", "ticket.updated")
        expected = said[:1] if named.end is End.NO else said
    assert list(scene.ticket("commented").comments) == expected


def _say_before(scene: Scene, ticket_id: str) -> None:
    """A comment that shows, where comments can be looked up, that they come back with their markers."""
    changes = scene.account.comment("said before")
    scene.deployment.send(scene.update("before", ticket_id, changes=changes))
    assert scene.consume() == []


@_each("get")
def test_get(scene: Scene, named: Named) -> None:
    [ticket_id] = scene.make("read")
    with named.on(scene):
        scene.deployment.send(get("g", ticket_id))
        scene.consume()
    doubtless = replace(named, end=End.HELD) if named.end is End.DOUBT else named
    _assert_first(scene, doubtless, "g")
    scene.until_quiet()
    _assert_last(scene, doubtless, "g", "ticket.retrieved")


@_each("get")
def test_get_through_the_api(scene: Scene, named: Named) -> None:
    [ticket_id] = scene.make("read")
    with named.on(scene):
        answer = _read(scene, ticket_id)
        if named.end is End.SHUT:
            before = len(scene.helpdesk.calls)
            # The gate answers now.
            assert _read(scene, ticket_id).status == 503
            assert len(scene.helpdesk.calls) == before

    refused_token = named.end is End.SHUT and "retry-after" not in named.name
    statuses = {
        End.HELD: 503,
        End.SHUT: 502 if refused_token else 503,
        End.DOUBT: 504,
        End.NO: {"404": 404, "413": 413}.get(named.name[:3], 422),
    }
    assert answer.status == statuses[named.end]
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (answer.status == 503)
    scene.clock.let_pass(901)
    assert _read(scene, ticket_id).status == 200


def _read(scene: Scene, ticket_id: str) -> Answer:
    return scene.deployment.call("GET", f"/tickets/{ticket_id}")


def _consume_what_comes(scene: Scene) -> None:
    eventually(scene.deployment.waiting)
    scene.consume()


def _assert_shut(scene: Scene) -> None:
    """The helpdesk is well again, but nobody has asked it yet."""
    before = len(scene.helpdesk.calls)
    scene.deployment.send(add("kept-back"))
    assert len(scene.consume()) == 1
    assert len(scene.helpdesk.calls) == before


def _assert_first(scene: Scene, named: Named, name: str) -> None:
    said = {End.HELD: [], End.SHUT: [], End.DOUBT: ["ticket.unknown"], End.NO: ["ticket.rejected"]}
    assert scene.types(name) == said[named.end]


def _assert_last(scene: Scene, named: Named, name: str, succeeded: str) -> None:
    if named.end is End.NO:
        assert scene.types(name) == ["ticket.rejected"]
        assert len(scene.parked(name)) == 1
        return
    doubts = ["ticket.unknown"] if named.end is End.DOUBT else []
    assert scene.types(name) == [*doubts, succeeded]
    assert scene.parked(name) == []
    if named.end in (End.HELD, End.SHUT) and succeeded == "ticket.added":
        # What was never tried, or never done, counts as no attempt.
        assert scene.events(name)[-1]["data"]["attempts"] == 1


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────


@only("invalid-auth-key-rotated")
def test_a_new_token_is_used_within_the_invocation_that_meets_it(scene: Scene, fault: str) -> None:
    [ticket_id] = scene.make("earlier")
    _rotate(scene, "second-token")
    scene.deployment.send(add("added"), scene.update("updated", ticket_id), get("got", ticket_id))

    assert scene.consume() == []

    assert scene.types("added") == ["ticket.added"]
    assert scene.types("updated") == ["ticket.updated"]
    assert scene.types("got") == ["ticket.retrieved"]
    assert len(scene.tickets("added")) == 1
    _rotate(scene, "third-token")
    assert _read(scene, ticket_id).status == 200


@only("invalid-auth-key-for-an-hour")
def test_a_refused_token_costs_one_probe_a_minute_and_no_attempt(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    scene.account.change_token("unknown-to-us")
    names = ["waits-1", "waits-2"]
    scene.deployment.send(*(add(name) for name in names))
    scene.consume_all()
    began, before = scene.clock(), len(scene.helpdesk.calls)

    while scene.clock() - began < 3600:
        scene.clock.let_pass(45)
        scene.deployment.show_all()
        scene.consume_all()

    assert _read(scene, "1").status in (502, 503)
    assert len(scene.helpdesk.calls) - before <= 60
    scene.account.mend_token(scene.deployment)
    scene.until_quiet(rounds=1)
    for name in names:
        [event] = scene.events(name)
        assert (event["type"], event["data"]["attempts"]) == ("ticket.added", 1)
        assert len(scene.tickets(name)) == 1
    assert scene.letters == []


def _rotate(scene: Scene, token: str) -> None:
    scene.account.change_token(token)
    scene.account.mend_token(scene.deployment)


# ── up and down ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _down(scene: Scene) -> Iterator[None]:
    scene.helpdesk.faults.add(FaultRule(fault=Fault(status=503, headers={"Retry-After": "60"})))
    yield
    scene.helpdesk.faults.clear()


@only("flapping-every-10-s")
def test_all_is_done_by_a_helpdesk_that_comes_and_goes(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    names = [f"flaps-{number}" for number in range(6)]
    scene.deployment.send(*(add(name) for name in names))
    for _ in range(6):
        with _down(scene):
            _ten_seconds(scene)
        _ten_seconds(scene)

    scene.until_quiet()
    for name in names:
        assert scene.types(name) == ["ticket.added"]
        assert len(scene.tickets(name)) == 1
    assert scene.letters == []


def _ten_seconds(scene: Scene) -> None:
    for _ in range(2):
        scene.clock.let_pass(5)
        scene.deployment.show_all()
        scene.consume_all()


@only("down-24-h")
def test_a_day_without_a_helpdesk_loses_nothing_and_leaves_intake_open(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    names = []
    with _down(scene):
        for hour in range(0, 24, 3):
            names += [f"queued-{hour}", f"posted-{hour}"]
            scene.deployment.send(add(f"queued-{hour}"))
            assert scene.deployment.call("POST", "/tickets", add(f"posted-{hour}")).status == 202
            scene.clock.let_pass(3 * 3600)
            scene.deployment.resolve_doubts()
            scene.deployment.show_all()
            scene.consume_all()
        # The earlier one, and one probe at each look: the first two may have gone together.
        assert scene.calls(scene.account.adds) <= 1 + 8 + 1

    scene.until_quiet()
    for name in names:
        assert scene.types(name) == ["ticket.added"]
        assert len(scene.tickets(name)) == 1
    assert scene.letters == []


@only("down-while-an-older-update-waits")
def test_only_an_answer_of_the_helpdesk_opens_the_gate(scene: Scene, fault: str) -> None:
    [ticket_id] = scene.make("earlier")
    scene.deployment.send(scene.update("newer", ticket_id, occurred_at="2026-01-02T00:00:00Z"))
    scene.consume()
    with _down(scene):
        scene.deployment.send(add("meets-it"))
        scene.consume()
        scene.clock.let_pass(901)
        scene.deployment.send(scene.update("older", ticket_id, occurred_at="2026-01-01T00:00:00Z"))
        before = len(scene.helpdesk.calls)
        scene.consume()
        scene.deployment.send(*(add(f"rush-{number}") for number in range(8)))
        scene.consume()
        assert len(scene.helpdesk.calls) - before <= 1


# ── strange answers ──────────────────────────────────────────────────────────────────────────────────────


@only("302-to-other-host")
def test_a_redirect_is_never_followed(scene: Scene, fault: str) -> None:
    [ticket_id] = scene.make("earlier")
    elsewhere = KaptureSimulator(token="of-somebody-else")
    with running(elsewhere.app()) as url:
        path = scene.helpdesk.calls[0].path
        scene.helpdesk.faults.add(FaultRule(fault=Fault(status=307, redirect=url + path)))
        scene.deployment.send(add("added"), scene.update("updated", ticket_id), get("got", ticket_id))
        scene.consume()
        _read(scene, ticket_id)

    assert elsewhere.calls == []
    assert scene.published == []


@only("fewer-tickets-than-asked")
def test_tickets_that_a_get_does_not_show_are_named(scene: Scene, fault: str) -> None:
    [ticket_id] = scene.make("shown")
    scene.deployment.send(get("some", ticket_id, "404404404404"), get("none", "404404404404"))
    assert scene.consume() == []

    [some] = scene.events("some")
    assert some["data"]["missing"] == ["404404404404"]
    assert [ticket["ticket_id"] for ticket in some["data"]["tickets"]] == [ticket_id]
    assert scene.types("none") == ["ticket.rejected"]
    answer = _read(scene, f"{ticket_id},404404404404")
    assert answer.body["missing"] == ["404404404404"]
    assert _read(scene, "404404404404").status == 404


def _lose(scene: Scene, name: str) -> None:
    """An add whose answer is lost after it was made."""
    scene.helpdesk.faults.add(
        FaultRule(operation=scene.account.adds, match=name, times=1, fault=Fault(reset="after"))
    )
    scene.deployment.send(add(name))
    scene.consume()
    assert scene.types(name) == ["ticket.unknown"]


def _assert_parked_once(scene: Scene, name: str) -> None:
    scene.until_quiet()
    assert len(scene.tickets(name)) == 1
    assert scene.types(name) == ["ticket.unknown", "ticket.parked"]
    assert scene.parked(name) == ["outcome_unknown"]


@only("marker-not-returned")
def test_without_markers_a_doubt_is_parked_and_never_repeated(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    scene.account.hide_markers()
    _lose(scene, "lost")

    _assert_parked_once(scene, "lost")


@only("marker-not-returned")
def test_a_text_that_looks_like_a_marker_says_nothing(scene: Scene, fault: str) -> None:
    scene.account.hide_markers()
    scene.make("Re:_your_request_[tb-0123456789abcdef]")
    _lose(scene, "lost")

    _assert_parked_once(scene, "lost")


@only("marker-not-returned")
def test_a_doubt_without_a_marker_is_parked_whatever_came_back_before(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    _lose(scene, "found")
    scene.until_quiet()
    assert scene.types("found") == ["ticket.unknown", "ticket.added"]
    scene.deployment.set(**{scene.account.marker_variable: "off"})
    _lose(scene, "lost")

    _assert_parked_once(scene, "lost")


@only("pull-lag")
def test_a_ticket_that_shows_late_is_found_and_not_made_again(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    scene.deployment.set(SETTLE_AFTER_S="900")
    scene.account.show_late(400.0)
    _lose(scene, "late")

    scene.one_round()
    assert scene.types("late") == ["ticket.unknown"]
    scene.until_quiet()

    assert scene.types("late") == ["ticket.unknown", "ticket.added"]
    assert len(scene.tickets("late")) == 1


@only("read-timeout-before-commit")
def test_an_add_that_is_made_only_after_we_gave_up_waiting_is_found(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    scene.deployment.set(SETTLE_AFTER_S="900")
    late = Fault(delay_before_s=3)
    scene.helpdesk.faults.add(FaultRule(operation=scene.account.adds, match="slow", times=1, fault=late))
    scene.deployment.send(add("slow"))
    with _impatient(scene):
        scene.consume()
    scene.one_round()
    eventually(lambda: scene.tickets("slow"))
    scene.until_quiet(rounds=20)

    assert scene.types("slow") == ["ticket.unknown", "ticket.added"]
    assert len(scene.tickets("slow")) == 1


def _vary_the_message_of_pulls(scene: Scene) -> None:
    assert isinstance(scene.account, KaptureAccount)
    simulator = scene.account.simulator
    simulator.switches = simulator.switches.model_copy(update={"pull_message": "varying"})


@at(KaptureAccount)
@pytest.mark.parametrize(
    ("others", "varying"),
    [(1, False), (0, True), (1, True)],
    ids=["pull-message-array", "pull-message-object", "pull-message-array-of-two"],
)
def test_a_doubt_is_found_whatever_form_a_pull_has(scene: Scene, others: int, varying: bool) -> None:
    if varying:
        _vary_the_message_of_pulls(scene)
    if others:
        scene.make("earlier")
    _lose(scene, "lost")
    scene.until_quiet()

    assert scene.types("lost") == ["ticket.unknown", "ticket.added"]
    assert len(scene.tickets("lost")) == 1


@only("pull-message-string", accounts=[KaptureAccount])
def test_a_pull_without_tickets_says_nothing_while_no_marker_has_come_back(scene: Scene, fault: str) -> None:
    _vary_the_message_of_pulls(scene)
    scene.helpdesk.faults.add(FaultRule(operation=scene.account.adds, times=1, fault=Fault(reset="before")))
    scene.deployment.send(add("lost"))
    scene.until_quiet()

    assert scene.types("lost") == ["ticket.unknown", "ticket.parked"]
    assert scene.tickets("lost") == []


@only("html-entities-misspelt-keys-numeric-ids", accounts=[KaptureAccount])
def test_quirks_of_spelling_are_gone_from_what_is_told(scene: Scene, fault: str) -> None:
    scene.deployment.send(add("quirks", ticket={"title": "quirks", "requester": {"name": "O'Hara & Söhne"}}))
    scene.helpdesk.faults.add(FaultRule(fault=Fault(answer="numeric_id")))
    assert scene.consume() == []
    [added] = scene.events("quirks")
    ticket = scene.ticket("quirks")
    assert added["data"]["ticket_id"] == ticket.ticket_id

    scene.deployment.send(get("got", ticket.ticket_id))
    assert scene.consume() == []
    [got] = scene.events("got")
    shown = got["data"]["ticket"]
    assert shown["ticket_id"] == ticket.ticket_id
    assert shown["assignee"] == "Kapture Dev API's"
    assert shown["updated_at"].endswith("Z")
    assert shown["sub_status"] == {"key": "US", "name": "Unattended"}


# What a helpdesk sends that is JSON, but no text that can be passed on.
_HALF = "half of an emoji \\ud83d"


@only("text-cut-in-half")
def test_a_text_cut_in_half_is_read_all_the_same(scene: Scene, fault: str) -> None:
    [ticket_id] = scene.make("whole")
    broken, _ = scene.account.reading(replace(scene.ticket("whole"), title=_HALF))
    scene.helpdesk.faults.add(FaultRule(operation=scene.account.gets, fault=Fault(body=broken)))
    scene.deployment.send(get("got", ticket_id), add("beside"))
    scene.until_quiet()

    assert scene.types("beside") == ["ticket.added"]
    assert scene.types("got") == ["ticket.retrieved"]


@only("text-cut-in-half")
def test_a_text_cut_in_half_does_not_keep_doubts_from_being_settled(scene: Scene, fault: str) -> None:
    _lose(scene, "lost")
    true = scene.ticket("lost")
    _, broken = scene.account.reading(replace(true, ticket_id="1", title=_HALF, details=""), true)
    scene.helpdesk.faults.add(FaultRule(operation=scene.account.lists, fault=Fault(body=broken)))
    scene.until_quiet()

    assert scene.types("lost") == ["ticket.unknown", "ticket.added"]


@only("text-cut-in-half")
def test_a_refusal_cut_in_half_is_a_refusal(scene: Scene, fault: str) -> None:
    body = scene.account.refusal.replace("no such queue", _HALF)
    scene.helpdesk.faults.add(
        FaultRule(operation=scene.account.adds, match="refused", fault=Fault(body=body))
    )
    scene.deployment.send(add("refused"), add("beside"))
    scene.until_quiet()

    assert scene.types("beside") == ["ticket.added"]
    assert scene.types("refused") == ["ticket.rejected"]


@only("unreadable-ticket-url", accounts=[KaptureAccount])
def test_an_unreadable_address_of_a_new_ticket_is_left_out(scene: Scene, fault: str) -> None:
    scene.make("earlier")
    body = '{"status": "success", "ticket_id": "123456789012", "ticket_url": "http://[broken/1"}'
    scene.helpdesk.faults.add(
        FaultRule(operation=scene.account.adds, match="odd", times=1, fault=Fault(body=body, act=True))
    )
    scene.deployment.send(add("odd"))

    assert scene.consume() == []
    assert scene.types("odd") == ["ticket.added"]
