"""What must be true when all is quiet again, whatever has happened."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.faults.checker.line import Arrived
from tests.faults.checker.mishaps import LOST, TOKEN
from tests.faults.checker.world import HELPDESKS, MOST_ATTEMPTS, Asked, State, World, state_of

# What had been admitted before a gate was closed may still be on its way for so long.
_UNDER_WAY_S = 45.0
# What waits for long comes back so late, and is ended at this age at the latest.
_COMES_BACK_S = 2 * 3600.0
_MOST_AGE_S = 13.5 * 86_400
# No probe follows another sooner, but for what each takes until it arrives.
_FIRST_PROBE_S = 4.0
# What nothing holds back ends so soon, also where its function dies once.
_USUAL_S = 600.0


def broken(world: World) -> list[str]:
    """Every promise that was broken, told for people."""
    return [
        *world.broken,
        *(line for asked in world.asked.values() for line in _answered(world, asked)),
        *(line for asked in world.asked.values() for line in _given_up_in_time(world, asked)),
        *(line for asked in world.asked.values() for line in _remembered(world, asked)),
        *_nothing_left(world),
        *_once(world),
        *_in_order(world),
        *_within_budget(world),
        *_changes_told(world),
        *_spared(world),
        *_by_their_keys(world),
        *_in_time(world),
    ]


def _answered(world: World, asked: Asked) -> Iterator[str]:
    """Exactly one final outcome; repeats are the same event."""
    finals = asked.finals
    if not finals:
        yield f"{asked.name} has no outcome"
        return
    kinds = {(event["type"], event["data"].get("code")) for event in finals}
    ids = {event["id"] for event in finals}
    # A get that is made again may show what has changed since.
    if len(kinds) > 1 or (asked.operation != "get" and len(ids) > 1):
        yield f"{asked.name} ends in more than one way: {sorted(map(str, kinds))}"
    data = finals[0]["data"]
    outcome = data["outcome"]
    if outcome == "parked" and not world.may_park(asked, data):
        yield f"{asked.name} is parked ({data.get('code')}: {data.get('message')}) without need"
    if outcome == "rejected" and not asked.is_bad and not _is_out_of_date(world, asked, data.get("code")):
        yield f"{asked.name} is rejected ({data.get('code')}) without need"
    if outcome == "succeeded":
        yield from _carried_out(world, asked, data.get("ticket_id"))


def _given_up_in_time(world: World, asked: Asked) -> Iterator[str]:
    """What waits is given up when the settings say so, neither before nor long after."""
    give_up_s = min(float(world.variables.get("GIVE_UP_AFTER_HOURS", "72")) * 3600, _MOST_AGE_S)
    for event in asked.events[:1]:
        age = event["at"] - asked.at
        if event["data"].get("code") == "expired" and age < give_up_s:
            yield f"{asked.name} is given up after {age:.0f} s"
        if age > give_up_s + _COMES_BACK_S:
            yield f"{asked.name} is told of after {age:.0f} s for the first time"


def _remembered(world: World, asked: Asked) -> Iterator[str]:
    """The ledger says of a request what was told of it. One that was refused need not be there."""
    if asked.operation == "get" or not asked.finals:
        return
    told = asked.finals[0]["data"]["outcome"]
    item = world.table.items.get(f"request#{asked.name}", {})
    remembered = item.get("kind", {}).get("S") if item.get("state", {}).get("S") == "done" else None
    if remembered != told and (item or told != "rejected"):
        yield f"{asked.name} was told as {told}, and is remembered as {remembered}"


def _is_out_of_date(world: World, asked: Asked, code: str | None) -> bool:
    """Whether a newer update of its ticket has happened."""
    if code != "out_of_date" or asked.occurred_at is None:
        return False
    if any(what.startswith(f"ticket#{asked.helpdesk}#") for what in world.mishaps.struck):
        # That a newer one was refused could not be remembered.
        return True
    newer = (later for later in world.asked.values() if _is_newer(later, asked))
    happened = {state.number for state in world.states[asked.helpdesk]}
    return any(later.number in happened or _commented(world, later) for later in newer)


def _is_newer(asked: Asked, other: Asked) -> bool:
    same = (asked.helpdesk, asked.target) == (other.helpdesk, other.target)
    return same and asked.occurred_at is not None and asked.occurred_at > (other.occurred_at or 0)


def _commented(world: World, asked: Asked) -> int:
    text = f"comment of {asked.name}"
    return sum(ticket.comments.count(text) for ticket in world.tickets(asked.helpdesk))


def _carried_out(world: World, asked: Asked, ticket_id: str | None) -> Iterator[str]:
    tickets = world.tickets(asked.helpdesk)
    if asked.operation == "add":
        mine = [ticket.ticket_id for ticket in tickets if ticket.title == asked.name]
        if mine != [ticket_id]:
            yield f"{asked.name} succeeded as {ticket_id}, and its tickets are {mine}"
    if asked.operation == "update":
        meant = [ticket.ticket_id for ticket in tickets if ticket.title == asked.target]
        changed = {state.ticket_id for state in world.states[asked.helpdesk] if state.number == asked.number}
        if not changed:
            yield f"{asked.name} succeeded without having been carried out"
        if ticket_id not in meant:
            yield f"{asked.name} succeeded as {ticket_id}, and means {meant}"
        if asked.has_comment and _commented(world, asked) != 1:
            yield f"{asked.name} succeeded, and its comment stands {_commented(world, asked)} times"


def _nothing_left(world: World) -> Iterator[str]:
    for message in world.queue.messages.values():
        yield f"{message.message_id} is still in the queue after {message.receives} receives: {message.body}"
    for message in (*world.queue.moved, *world.queue.lost):
        yield f"SQS took {message.message_id} out after {message.receives} receives: {message.body}"


def _once(world: World) -> Iterator[str]:
    """No ticket and no comment twice, and updates reach their own ticket."""
    for helpdesk in HELPDESKS:
        tickets = world.tickets(helpdesk)
        titles = [ticket.title for ticket in tickets]
        title_of = {ticket.ticket_id: ticket.title for ticket in tickets}
        for title in sorted({title for title in titles if titles.count(title) > 1}):
            yield f"{helpdesk} has {titles.count(title)} tickets of {title}"
        for asked in world.asked.values():
            if asked.helpdesk == helpdesk and asked.has_comment and _commented(world, asked) > 1:
                yield f"the comment of {asked.name} stands {_commented(world, asked)} times"
        by_number = {asked.number: asked for asked in world.asked.values()}
        for state in world.states[helpdesk]:
            update = by_number.get(state.number)
            if update and update.target != title_of[state.ticket_id]:
                yield f"{update.name} is meant for {update.target} and changed {title_of[state.ticket_id]}"


def _in_order(world: World) -> Iterator[str]:
    """An older update never comes after a newer one of the same ticket."""
    by_number = {asked.number: asked for asked in world.asked.values()}
    for helpdesk in HELPDESKS:
        newest: dict[str, Asked] = {}
        for state in world.states[helpdesk]:
            update = by_number.get(state.number)
            if update is None or update.occurred_at is None:
                continue
            before = newest.get(state.ticket_id)
            if before and (before.occurred_at or 0) > update.occurred_at:
                yield f"{update.name} overwrites {before.name}, which is newer"
            else:
                newest[state.ticket_id] = update


def _within_budget(world: World) -> Iterator[str]:
    """Never more calls in any stretch of a period's length."""
    for helpdesk, (limit, period_s) in world.budgets.items():
        times = sorted(call.at for call in world.arrived[helpdesk] if call.operation != "token")
        first = 0
        for last, at in enumerate(times):
            while times[first] <= at - period_s:
                first += 1
            if last - first + 1 > limit:
                yield f"{helpdesk} got {last - first + 1} calls in {period_s} s, {limit} are allowed"
                break


def _spared(world: World) -> Iterator[str]:
    """Nothing that must not be repeated goes into a closed gate, nor more often than it may be tried."""
    for helpdesk in HELPDESKS:
        lost: Counter[str] = Counter()
        calls = [call for call in world.arrived[helpdesk] if call.operation != "token"]
        probes = sorted(call.at for call in calls if call.closed_s > _UNDER_WAY_S)
        # One get may take two calls.
        for before, after in zip(probes, probes[2:], strict=False):
            if after - before < _FIRST_PROBE_S:
                yield f"{helpdesk}, whose gate was closed, got three calls in {after - before:.1f} s"
                break
        for call in calls:
            text = _text_of(call)
            if text is None:
                continue
            if call.closed_s > _UNDER_WAY_S:
                yield f"{text} was sent to {helpdesk}, whose gate had been closed for {call.closed_s:.0f} s"
            lost[text] += call.kind in LOST
        for text, times in lost.items():
            if times > MOST_ATTEMPTS:
                yield f"{text} was sent to {helpdesk} {times} times, and answered never"


def _by_their_keys(world: World) -> Iterator[str]:
    """A refused key holds back its operation only, which is tried by one call at a time."""
    for outage in world.mishaps.outages:
        for operation in outage.operations:
            calls = world.arrived[outage.helpdesk]
            refused = sorted(call.at for call in calls if (call.operation, call.kind) == (operation, TOKEN))
            tries = [at for at in refused if at > refused[0] + _UNDER_WAY_S]
            gap_s = min((after - before for before, after in pairwise(tries)), default=_FIRST_PROBE_S)
            if gap_s < _FIRST_PROBE_S:
                yield f"{outage.helpdesk} refuses our key, and got two {operation} in {gap_s:.1f} s"
        for asked in world.asked.values():
            is_free = outage.operations and asked.operation not in outage.operations
            is_during = asked.helpdesk == outage.helpdesk and outage.begins < asked.at < outage.ends
            late_s = asked.finals[0]["at"] - asked.at if asked.finals else 0.0
            if is_free and is_during and "reference" not in asked.body and late_s > _USUAL_S:
                yield f"{asked.name} ended after {late_s:.0f} s, and its key was not refused"


def _text_of(call: Arrived) -> str | None:
    """The title or comment that a call writes; None where it may be made twice."""
    if call.operation == "add":
        sent = call.body[0] if isinstance(call.body, list) else call.body
        return str(sent["title"]).partition(" [tb-")[0]
    if call.operation == "update" and "comment" in call.body[0]:
        return str(call.body[0]["comment"]).partition("\n")[0]
    if call.operation == "add_note":
        return str(call.body["message"]).partition("\n")[0]
    return None


def _in_time(world: World) -> Iterator[str]:
    """What an outage has kept waiting is done soon after it, and little of it was ever in doubt."""
    for outage in world.mishaps.outages:
        mine = [
            asked
            for asked in world.asked.values()
            if asked.helpdesk == outage.helpdesk and asked.at < outage.ends
        ]
        in_doubt = [asked for asked in mine if asked.was_in_doubt]
        if len(in_doubt) > world.most_in_doubt:
            yield f"{len(in_doubt)} of {len(mine)} requests came into doubt: {in_doubt[-1].name} as well"
        for asked in mine:
            late_s = asked.finals[0]["at"] - max(outage.ends, asked.at) if asked.finals else 0.0
            if asked not in in_doubt and late_s > world.soon_s:
                yield f"{asked.name} ended {late_s:.0f} s after the outage"


def _changes_told(world: World) -> Iterator[str]:
    """Each change once and in order, and the last one that there was."""
    for (helpdesk, ticket_id), events in world.changes.items():
        by_number: dict[int, set[str]] = defaultdict(set)
        for event in events:
            by_number[_number_of(event)].add(_state_in(helpdesk, event))
        for number, states in by_number.items():
            if len(states) > 1:
                yield f"{helpdesk} {ticket_id}: change {number} is told as {sorted(states)}"
        told = [state for _, states in sorted(by_number.items()) for state in sorted(states)]
        was = [state_of(helpdesk, state.number) for state in _states(world, helpdesk, ticket_id)]
        for before, after in pairwise(told):
            if before == after:
                yield f"{helpdesk} {ticket_id}: {after} is told twice, as two changes"
        rest = iter(was)
        if not all(state in rest for state in told):
            yield f"{helpdesk} {ticket_id}: told {told}, and was {was}"
    for helpdesk, ticket_id in world.watched:
        been = _states(world, helpdesk, ticket_id)
        events = sorted(world.changes[helpdesk, ticket_id], key=_number_of)
        told = [_state_in(helpdesk, event) for event in events]
        if been and told[-1:] != [state_of(helpdesk, been[-1].number)]:
            yield f"{helpdesk} {ticket_id}: told {told}, and is {state_of(helpdesk, been[-1].number)}"


def _number_of(event: dict[str, Any]) -> int:
    return int(event["data"]["request_id"].split(":")[2])


def _states(world: World, helpdesk: str, ticket_id: str) -> list[State]:
    return [state for state in world.states[helpdesk] if state.ticket_id == ticket_id]


def _state_in(helpdesk: str, event: dict[str, Any]) -> str:
    ticket = event["data"]["ticket"]
    return str(ticket.get("sub_status", {}).get("key") if helpdesk == "kapture" else ticket.get("queue"))
