"""For all policies: what is remembered is what would be decided, and oversight is never less strict than plain Cedar."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import product

import cedarpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.security.authz import Allow, Decision, Deny, RequiresOversight
from creto.security.authz.cedar import Request, Uid, compile_policies
from creto.security.authz.cedar.values import Entity
from creto.security.authz.lattice import decided
from creto.security.authz.texts import compiled
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import Office, Ticks

ACTIONS = ("sandbox.read", "funds.transfer")
RESOURCES = ("runtime:sandbox:1", "bank:a")
CONTEXTS: tuple[dict[str, object], ...] = ({}, {"amount": 5}, {"amount": 50}, {"amount": "50"}, {"tool": "x"})
SCOPES = ("principal", "principal is Human", "principal is Agent", 'principal in Role::"operator"')
ACTS = ("action", 'action == Action::"sandbox.read"', 'action in Action::"business"')
ON = ("resource", "resource is Sandbox", 'resource == Resource::"bank:a"')
CONDITIONS = (
    "", "when { context has amount && context.amount > 10 }", "unless { context has tool }",
    "when { principal has owner }", "when { resource has uri }", 'when { principal in Role::"lead" }',
)  # fmt: skip
NOTES = ("", '@oversight("one")', '@oversight("two") @approvers("cfo")')


def text_of(pick: random.Random, count: int) -> str:
    """So many policies of those that can apply to something: the schema refuses the others."""
    lines: list[str] = []
    while len(lines) < count:
        number = len(lines)
        effect = pick.choice(["permit", "permit", "forbid"])
        note = pick.choice(NOTES) if effect == "forbid" else ""
        scope = ", ".join((pick.choice(SCOPES), pick.choice(ACTS), pick.choice(ON)))
        line = f'@id("p{number}") {note} {effect} ({scope}) {pick.choice(CONDITIONS)};'
        with suppress(InvalidInput):
            compiled(line)
            lines.append(line)
    return "\n".join(lines)


async def test_what_is_remembered_is_what_would_be_decided(office: Office, ticks: Ticks, deep: bool) -> None:
    """Two askers, one that remembers and one that never does, over changes of policies, roles and entities between the questions."""
    ada = await office.hire("Ada", "operator")
    scout = await office.town.agent("scout", owner=ada.nhi)
    fresh = Office(office.store, ticks=ticks)
    fresh.authz._hits.end_sweeping()
    kinds: set[type] = set()
    kept = 0
    for seed in range(150 if deep else 12):
        pick = random.Random(seed)
        text = text_of(pick, pick.randrange(1, 7))
        with_defaults = pick.random() < 0.3
        await office.authz.upload_policies(TENANT, text, actor=ada.nhi, with_defaults=with_defaults, activate=True)
        fresh.authz.forget_all()
        questions = list(product((ada, scout), ACTIONS, RESOURCES, CONTEXTS))
        for who, action, resource, context in pick.choices(questions, k=150):
            match pick.randrange(40):
                case 0:
                    await office.authz.assign_role(TENANT, who.nhi, "lead", actor=ada.nhi)
                    fresh.authz.forget_all()
                case 1:
                    await office.authz.unassign_role(TENANT, who.nhi, "lead", actor=ada.nhi)
                    fresh.authz.forget_all()
                case 2:
                    ticks.move_s(4)
                    office.authz._hits.sweep()
            mine = office.check(who, action, resource, **context)
            told = fresh.check(who, action, resource, **context)
            assert mine == told, (text, who, action, resource, context)
            assert office.authz.why(who.nhi, action, resource, context, tenant=TENANT).decision == told
            kinds.add(type(mine))
        kept += office.authz.remembered()
        assert fresh.authz.remembered() == 0
    assert kinds == {Allow, Deny, RequiresOversight}
    assert kept > 20


WHO, ACT, WHAT = Uid("A", "a"), Uid("Action", "x"), Uid("R", "r")
ENTITIES = {uid: Entity(uid) for uid in (WHO, ACT, WHAT)}


def decision(effects: list[tuple[str, str, bool]]) -> tuple[Decision, bool]:
    """Ours, and whether plain Cedar allows, of policies given as effect, annotation, and whether they apply."""
    text = "\n".join(
        f"{note} {effect} (principal, action, resource) when {{ {str(on).lower()} }};" for effect, note, on in effects
    )
    request = {"principal": 'A::"a"', "action": 'Action::"x"', "resource": 'R::"r"', "context": {}}
    plain = cedarpy.is_authorized(request, text, "[]").allowed
    return decided(compile_policies(text).evaluate(Request(WHO, ACT, WHAT, {}, ENTITIES))), plain


POLICIES = st.lists(st.tuples(st.sampled_from(["permit", "forbid"]), st.sampled_from(NOTES), st.booleans()).map(
    lambda p: p if p[0] == "forbid" else ("permit", "", p[2])), max_size=6)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(policies=POLICIES, order=st.randoms(use_true_random=False))
def test_the_three_answers_by_what_applies(policies: list[tuple[str, str, bool]], order: random.Random) -> None:
    ours, plain = decision(policies)
    permits = [p for p in policies if p[0] == "permit" and p[2]]
    forbids = [p for p in policies if p[0] == "forbid" and p[2]]
    if not permits or any(not note for _, note, _ in forbids):
        assert isinstance(ours, Deny)
    elif forbids:
        assert isinstance(ours, RequiresOversight)
        asked = [note.split('"')[1] for _, note, _ in forbids]
        assert [ours.policy_id, *ours.also] == list(dict.fromkeys(asked))
        assert (ours.requirement is not None) == (ours.policy_id == "two")
    else:
        assert isinstance(ours, Allow)
    assert isinstance(ours, Allow) == plain  # an engine that knows nothing of the annotation is never more generous
    shuffled = order.sample(policies, len(policies))
    assert type(decision(shuffled)[0]) is type(ours)
