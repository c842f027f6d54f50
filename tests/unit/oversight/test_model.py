"""Any order of votes, cancellations and time gives what a model of ten lines says."""

from __future__ import annotations

from functools import partial
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creto.common.errors import EnablementError
from creto.common.timestamps import SECOND
from creto.oversight import Channel, Quorum, RequestState, Verdict, eligibility
from creto.oversight.ballots import outcome
from creto.platform.audit.events import StateTransition, event_of
from tests.unit.oversight.world import P2, TENANT, World, id_of

NAMES = ("alice", "bob", "carol", "mallory", "dave")
VOTES = st.tuples(st.sampled_from(["approve", "deny"]), st.sampled_from(NAMES))
ACTS = st.lists(VOTES | st.sampled_from([("cancel", ""), ("wait", ""), ("timer", "")]), max_size=8)
NUMBERS = count()


class Model:
    """Two of three approve, two deny, time ends it; whoever is not named says nothing."""

    def __init__(self) -> None:
        self.state, self.votes, self.late = RequestState.PENDING, dict[str, Verdict](), False

    def step(self, act: str, name: str) -> None:
        if self.state is not RequestState.PENDING:
            return
        if act == "wait":
            self.late = True
        elif act == "cancel":
            self.state = RequestState.TIMED_OUT if self.late else RequestState.CANCELLED
        elif act in ("approve", "deny") and self.votes.get(name) is Verdict(act):
            return  # said already, and answered the same, whatever the time
        elif self.late:
            self.state = RequestState.TIMED_OUT
        elif name in ("alice", "bob", "carol"):
            self.votes[name] = Verdict(act)
            said = list(self.votes.values())
            if said.count(Verdict.DENY) == 2:
                self.state = RequestState.DENIED
            elif said.count(Verdict.APPROVE) == 2:
                self.state = RequestState.APPROVED


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
async def test_requests_do_as_the_model(world: World, acts: list[tuple[str, str]]) -> None:
    policy = await world.policy(P2, quorum=Quorum(approvals=2, denials=2))
    record, model = await world.request(policy, {"n": next(NUMBERS)}), Model()
    for act, name in acts:
        before = (await world.now_of(record)).progress
        try:
            if act == "cancel":
                await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
            elif act == "wait":
                world.clock.advance(3_600 * SECOND)
            elif act == "timer":
                await world.timer.advance_once(world.clock.now())
            else:
                await world.vote(record, name, Verdict(act))
        except EnablementError as error:
            assert error.code in ("OV-403", "OV-409")
        model.step(act, name)
        after = (await world.now_of(record)).progress
        assert after.state is model.state
        assert before.state.open or after == before
    ended = [event_of(entry) for entry in await world.entries("StateTransition")]
    mine = [one for one in ended if isinstance(one, StateTransition) and one.request_id == record.ask.request_id]
    assert len(mine) == (not model.state.open)


MOVES = st.lists(
    st.tuples(st.sampled_from(["approve", "deny", "undo"]), st.sampled_from(NAMES[:3]), st.sampled_from([0, 5]))
    | st.tuples(st.sampled_from(["wait", "timer"]), st.just(""), st.sampled_from([1, 4])),
    max_size=10,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES)
async def test_what_waits_to_settle_is_what_the_votes_say(world: World, moves: list[tuple[str, str, int]]) -> None:
    """At every moment: open without enough votes, open with enough and a time at which they settle, or ended as they say, for good."""
    policy = await world.policy(P2, quorum=Quorum(approvals=2, denials=2))
    record = await world.request(policy, {"n": next(NUMBERS)})
    for act, name, number in moves:
        before = (await world.now_of(record)).progress
        try:
            if act == "wait":
                world.clock.advance(number * SECOND)
            elif act == "timer":
                await world.timer.advance_once(world.clock.now())
            elif act == "undo":
                await world.oversight.undo(TENANT, record.ask.request_id, by=id_of(name))
            else:
                await world.click(record, name, Verdict(act), channel=Channel.WEB, hold_s=number)
        except EnablementError as error:
            assert error.code in ("OV-404", "OV-409")
        case = await world.oversight.case(TENANT, record.ask.request_id)
        ask, directory, now = case.record.ask, world.oversight.directory(TENANT, policy), world.clock.now()
        others = partial(eligibility.able, ask, directory, now)
        after, (verdict, _) = case.record.progress, outcome(ask, case.votes, others)
        assert before.state.open or after == before
        if after.state.open:
            assert (after.settles_at is None) == (verdict is None)
            assert after.settles_at is None or after.settles_at <= after.deadline_at
        else:
            assert after.settles_at is None
            assert after.state is (RequestState.APPROVED if verdict is Verdict.APPROVE else RequestState.DENIED)
