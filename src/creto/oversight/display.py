"""What the approver sees, made by us from facts, the same on every channel; its hash is in what they sign.

    shown = render(ask)
    shown.hash          # display_hash
    shown.text()        # for a terminal or a mail; a page and a card lay the same fields out

In this order: the effect in plain words, risk and policy, every argument, what differs from the last similar approved call, how far it reaches,
what was found hidden in the text. What the agent says comes last, fenced, and is nowhere else: an agent writes no field of ours.

INVARIANT: every argument is shown, whole; what is masked as a secret is shown as masked. Nothing is cut here: what is too large to be shown
is not accepted as a request.
INVARIANT: the same request gives the same bytes.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence

import msgspec

from creto.common import wire
from creto.common.limits import OVERSIGHT_BRIEF_CHARS, OVERSIGHT_REASONING_CHARS_MAX
from creto.common.redact import MASK, is_secret_name, redacted_text
from creto.contracts import RiskFactor
from creto.oversight.arguments import Number, Value, keys, leaves, number, parsed, text
from creto.oversight.hostile import Trick, visible
from creto.oversight.types import Advance, Ask, Assurance, BatchItem, Bound, OversightPolicy, highest
from creto.platform.crypto import tagged_digest

PLAIN_ID = re.compile(r"[A-Za-z0-9._-]+")  # of a batch's act
TEMPLATE = "creto/oversight/display/v1"
SAYS = "The agent says (not verified):"
EFFECTS: dict[str, str] = {
    "sandbox.spawn": "start a sandbox",
    "sandbox.exec": "run a program in a sandbox",
    "sandbox.write": "write into a sandbox",
    "sandbox.privileged": "do a privileged operation",
    "network.egress": "connect to the outside",
    "secret.read": "read a secret",
    "secret.write": "change a secret",
    "funds.transfer": "transfer money",
    "payment.approve": "approve a payment",
    "data.export": "export data",
    "data.delete": "delete data",
    "code.deploy": "deploy code",
    "email.send": "send a mail",
    "tool.call": "call a tool",
    "human.contact": "ask a human",
    "cost_threshold": "go on although a cost limit is crossed",
    "quota_breach": "go on although a quota is nearly or wholly used up",
    "break_glass_review": "have its use of break-glass reviewed",
}
STEP = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*)|\[(\"(?:[^\"\\\\]|\\\\.)*\")\]"
)  # of a path: a plain name, or one in brackets and quotes
AMOUNTS = ("amount", "value", "price", "cost", "total", "limit")


class Line(msgspec.Struct, frozen=True):
    """A name and a value, both made visible."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value}" if self.name else self.value


class Display(msgspec.Struct, frozen=True, kw_only=True):
    """Every field is ready to be shown as plain text; a channel only escapes its own markup."""

    template: str = TEMPLATE
    request_id: str
    round: int
    effect: str
    agent: str
    acts_for: str
    action: str
    resource: str
    risk: str
    risks: tuple[str, ...]
    policy: str
    arguments: tuple[Line, ...]
    changes: tuple[str, ...]
    reach: tuple[str, ...]
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    says: tuple[str, ...]
    says_note: str = ""
    edited: tuple[str, ...] = ()  # how the arguments differ from those that the agent asked for

    @property
    def hash(self) -> bytes:
        """What was never edited has the hash that it had before there were edits to show."""
        said = wire.encode(self)
        return tagged_digest(said if self.edited else said.removesuffix(b',"edited":[]}') + b"}")

    @property
    def who(self) -> tuple[str, ...]:
        """Who wants what; for whom, where that is not the agent itself."""
        behind = () if f"({self.acts_for})" in self.agent else (f"For: {self.acts_for}",)
        return (f"Agent: {self.agent}", *behind, f"Action: {self.action} on {self.resource}")

    def text(self) -> str:
        """The whole, for a terminal, a mail, a screen reader."""
        blocks = [
            (
                self.effect,
                list(self.who),
            ),
            (f"Risk: {self.risk}", [*self.risks, f"Asked by the policy: {self.policy}"]),
            ("Arguments:", [str(line) for line in self.arguments] or ["none"]),
            ("Since the agent asked, by an approver's edit:", [*self.edited]),
            ("Since the last similar approved call:", [*self.changes]),
            ("Reach:", [*self.reach]),
            ("Known:", [*self.facts]),
            ("Take care:", [*self.warnings]),
            (SAYS, [*(f"| {line}" for line in self.says), self.says_note]),
        ]
        return "\n\n".join(
            "\n".join([head, *(f"  {line}" for line in lines if line)]) for head, lines in blocks if any(lines)
        )

    def brief(self) -> tuple[str, ...]:
        """The arguments for a channel with little room: each with its head and its tail, and a mark where the middle was left out."""
        return tuple(shortened(str(line)) for line in self.arguments)


def render(ask: Ask) -> Display:
    found: set[Trick] = set()
    value = parsed(ask.arguments)
    masked = sum(is_masked(path, leaf) for path, leaf in leaves(value))
    arguments = lines_of_items(ask.items, found) if ask.items else lines_of(value, found)
    says, note = said(ask, found)
    name = shown(ask.agent_name, found)
    return Display(
        request_id=ask.request_id,
        round=ask.round,
        effect=effect_of(ask, name, found),
        agent=f"{name} ({ask.agent})",
        acts_for=ask.chain[0] if ask.chain else ask.agent,
        action=shown(ask.action, found),
        resource=shown(redacted_text(ask.resource), found),
        risk=str(ask.risk),
        risks=risk_lines(ask, found),
        policy=policy_name(ask, found),
        arguments=arguments,
        changes=changes(ask.before, value, found, batch=bool(ask.items)),
        reach=reach(ask, value),
        facts=ask.facts,
        warnings=tuple(f"The text holds {trick}." for trick in Trick if trick in found) + masked_note(masked),
        says=says,
        says_note=note,
        edited=changes(ask.asked, value, found, batch=bool(ask.items)) if ask.asked is not None else (),
    )


def effect_of(ask: Ask, name: str, found: set[Trick]) -> str:
    """One line, in plain words: what happens if the answer is yes."""
    advance = ask.advance
    if advance is None:
        return f"{name} wants to {deed(ask.action, found)}: {shown(redacted_text(ask.resource), found)}"
    return f"{shown(advance.proposer, found)} proposes: {in_advance(name, advance.action, advance.resource, found)}"


def effect_in_advance(name: str, action: str, resource: str) -> str:
    found: set[Trick] = set()
    return in_advance(shown(name, found), action, resource, found)


def in_advance(name: str, action: str, resource: str, found: set[Trick]) -> str:
    return f"{name} may {deed(action, found)} without asking: {shown(redacted_text(resource), found)}"


def deed(action: str, found: set[Trick]) -> str:
    return EFFECTS.get(action, "do " + shown(action, found))


def risk_lines(ask: Ask, found: set[Trick]) -> tuple[str, ...]:
    """As we see it; and where only the agent's own word makes it worse, that it does."""
    ours = (*ask.assessed, *ask.by_arguments)
    raised = (f"{str(ask.risk).capitalize()} risk by the agent's own word.",) if highest(ours) is not ask.risk else ()
    return (*(risk_line(one, found) for one in ours), *raised)


def risk_line(factor: RiskFactor, found: set[Trick]) -> str:
    """`High risk (amount): more than ever before.`"""
    about = f"{str(factor.level).capitalize()} risk ({shown(factor.name, found)})"
    return f"{about}: {shown(factor.description, found)}" if factor.description else about


def policy_name(ask: Ask, found: set[Trick]) -> str:
    return "; and ".join(named_policy(one, found) for one in ask.policy.joint or (ask.policy,))


def named_policy(policy: OversightPolicy, found: set[Trick]) -> str:
    if not policy.title:
        return f"{shown(policy.policy_id, found)}, version {policy.version}"
    return f"{shown(policy.title, found)} ({policy.policy_id}, version {policy.version})"


def masked_note(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return ("One value is masked as a secret, in whole or in part." if count == 1 else f"{count} values are masked as secrets, in whole or in part.",)  # fmt: skip


def lines_of(value: Value, found: set[Trick]) -> tuple[Line, ...]:
    if value == {}:
        return ()
    for key in keys(value):
        found.update(visible(key).tricks)
    return tuple(Line(shown(path, found), leaf_shown(path, leaf, found)) for path, leaf in leaves(value))


def lines_of_items(items: Sequence[BatchItem], found: set[Trick]) -> tuple[Line, ...]:
    """Of a batch: each argument under the name of its act, and what the act comes after."""
    lines: list[Line] = []
    for item in items:
        name = shown(act_name(item.item_id), found)
        mine = lines_of(parsed(item.arguments), found) or (Line("", "no arguments"),)
        lines += [Line(f"{name}: {one.name}" if one.name else name, one.value) for one in mine]
        if item.after:
            lines.append(Line(name, f"only after {', '.join(shown(other, found) for other in item.after)}"))
    return tuple(lines)


def leaf_shown(path: str, leaf: Value, found: set[Trick]) -> str:
    """As JSON spells it, so that a text ends where its quotes do."""
    if isinstance(leaf, Number):
        return shown(leaf, found)
    masked = redacted_leaf(path, leaf)
    if isinstance(masked, str) and masked != leaf:
        found.update(visible(masked.replace(MASK, "")).tricks)  # our mask is no trick of the agent's
        return visible(text(masked)).text
    if isinstance(masked, str):
        found.update(visible(masked).tricks)  # what JSON's own escapes make visible is named too
    return shown(text(masked), found)


def redacted_leaf(path: str, leaf: Value) -> Value:
    if is_secret_place(path):
        return MASK
    return redacted_text(leaf) if isinstance(leaf, str) and not isinstance(leaf, Number) else leaf


def is_masked(path: str, leaf: Value) -> bool:
    return redacted_leaf(path, leaf) != leaf


def is_secret_place(path: str) -> bool:
    """Whether any name on the way is that of a secret: what is beneath `secrets` is one, whatever it is called."""
    return any(is_secret_name(plain or json.loads(quoted)) for plain, quoted in STEP.findall(path))


def changes(before: bytes | None, value: Value, found: set[Trick], *, batch: bool = False) -> tuple[str, ...]:
    """What differs from the last similar approved call; of a batch act by act."""
    if before is None:
        return ("There was none.",)
    old, new = (placed(one, batch=batch) for one in (parsed(before), value))
    lines = []
    for place in sorted(old.keys() | new.keys()):
        name, path = ": ".join(shown(part, found) for part in place if part) or "arguments", place[1]
        if place not in old:
            lines.append(f"added {name} = {leaf_shown(path, new[place], found)}")
        elif place not in new:
            lines.append(f"removed {name}, it was {leaf_shown(path, old[place], found)}")
        elif text(old[place]) != text(new[place]) or type(old[place]) is not type(new[place]):
            lines.append(
                f"changed {name}: {leaf_shown(path, old[place], found)} → {leaf_shown(path, new[place], found)}"
            )
    return tuple(lines) or ("Nothing differs.",)


def placed(value: Value, *, batch: bool) -> dict[tuple[str, str], Value]:
    """Every argument by its place; of a batch under its act, wherever in the batch that stands."""
    acts = acts_of(value) if batch else None
    if acts is None:
        return {("", path): leaf for path, leaf in leaves(value)}
    places: dict[tuple[str, str], Value] = {}
    for name, act in acts.items():
        places |= {(act_name(name), path): leaf for path, leaf in leaves(act["arguments"])}
        if "after" in act:  # no argument has a place with a space in it
            places |= {(act_name(name), f"comes {path}"): leaf for path, leaf in leaves(act["after"], "after")}
    return places


def acts_of(value: Value) -> dict[str, dict[str, Value]] | None:
    """By their ids, if these are the arguments of a batch as `edits.batch_arguments` spells them."""
    listed = value.get("items") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(listed, list) or not listed:
        return None
    acts: dict[str, dict[str, Value]] = {}
    for act in listed:
        known = isinstance(act, dict) and {"id", "arguments"} <= act.keys() <= {"id", "arguments", "after"}
        if not known or not isinstance(act, dict) or type(act["id"]) is not str or act["id"] in acts:
            return None
        acts[act["id"]] = act
    return acts


def act_name(item_id: str) -> str:
    """As it stands, or in quotes, so that it ends where they do."""
    return item_id if PLAIN_ID.fullmatch(item_id) else text(item_id)


def reach(ask: Ask, value: Value) -> tuple[str, ...]:
    """How far it goes, as far as the arguments tell."""
    lines = []
    if ask.items:
        lines.append(f"{len(ask.items)} acts in one request" if len(ask.items) > 1 else "one act, as a batch")
    if ask.advance is not None:
        calls = "one call" if ask.advance.uses == 1 else f"{ask.advance.uses} calls"
        lines.append(f"{calls} at most, within {lasting(ask.advance.ttl_s)} from the decision")
        lines.append(within_line(ask.advance.bounds))
    if "*" in ask.resource:
        lines.append("the resource is a pattern: it may mean many")
    found: set[Trick] = set()
    for path, count in lists(value) if not ask.items else ():
        lines.append(f"{shown(path, found) or 'the arguments'} has {count} entries")
    for path, leaf in leaves(value):
        amount = number(leaf)
        if amount is not None and path.rpartition(".")[2] in AMOUNTS and amount.copy_abs() >= 1:
            lines.append(f"{shown(path, found)} is {leaf}")
        if isinstance(leaf, str) and leaf.strip() in ("*", "/", "all", "~", "**", "%"):
            lines.append(f"{shown(path, found)} means everything")
    return tuple(lines)


def within_line(bounds: Sequence[Bound]) -> str:
    if not bounds:
        return "its arguments may be anything"
    return f"{proposal(bounds)}; other arguments may be anything"


def lasting(seconds: int) -> str:
    """8 h, 90 min, 45 s: the largest unit that says it exactly."""
    size, unit = next(
        (size, unit) for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")) if seconds % size == 0
    )
    return f"{seconds // size} {unit}"


def lists(value: Value, path: str = "") -> list[tuple[str, int]]:
    if isinstance(value, list):
        return [(path, len(value))] if len(value) > 1 else []
    if isinstance(value, dict):
        return [one for key in sorted(value) for one in lists(value[key], f"{path}.{key}" if path else key)]
    return []


def said(ask: Ask, found: set[Trick]) -> tuple[tuple[str, ...], str]:
    """The agent's own words, each line by itself, bounded with a mark."""
    risks = [f"{one.level} risk ({one.name}): {one.description}" for one in ask.risk_factors]
    lines = [line for part in (ask.description, *risks, *ask.reasoning) if part for line in part.split("\n")]
    room, out, left = OVERSIGHT_REASONING_CHARS_MAX, [], 0
    for line in lines:
        if room > 0:
            out.append(shown(redacted_text(line[:room]), found, prose=True))
        left += max(0, len(line) - max(0, room))
        room -= len(line)
    note = f"({left} characters more are not shown.)" if left else ""
    if ask.reasoning_code:
        note = f"(Its reasoning is not available: {ask.reasoning_code}.) {note}".rstrip()
    return tuple(out), note


def redacted_factor(factor: RiskFactor) -> RiskFactor:
    """An agent's own words, for who reads them elsewhere: in short, so that there is room for them whatever they are."""
    texts = (visible(redacted_text(text), prose=True).text for text in (factor.name, factor.description))
    name, description = map(shortened, texts)
    return RiskFactor(name=name, level=factor.level, description=description)


def shown(words: str, found: set[Trick], *, prose: bool = False) -> str:
    made = visible(words, prose=prose)
    found.update(made.tricks)
    return made.text


def shortened(line: str) -> str:
    if len(line) <= OVERSIGHT_BRIEF_CHARS:
        return line
    half = OVERSIGHT_BRIEF_CHARS // 2
    return f"{line[:half]}⟦{len(line) - 2 * half} characters left out: open the request⟧{line[-half:]}"


def summary(says: tuple[str, ...]) -> tuple[str, ...]:
    """Three lines of what the agent says, and how many there are."""
    lines = [textwrap.shorten(line, 200, placeholder="⟦…⟧") for line in says[:3]]
    return (*lines[:2], f"{lines[2]} ⟦{len(says) - 3} lines more⟧") if len(says) > 3 else tuple(lines)


def proposal(bounds: Sequence[Bound]) -> str:
    """A counter-proposal in words: `amount at most 40, currency exactly "EUR"`; a secret in it stays masked."""
    found: set[Trick] = set()
    return ", ".join(f"{shown(one.path, found) or 'arguments'} {limit(one, found)}" for one in bounds)


def limit(bound: Bound, found: set[Trick]) -> str:
    exact = f"exactly {leaf_shown(bound.path, parsed(bound.equal.encode()), found)}" if bound.equal is not None else ""
    most = f"at most {shown(bound.at_most, found)}" if bound.at_most is not None else ""
    return " and ".join(part for part in (exact, most) if part)


def assurance_label(assurance: Assurance, channel: str) -> str:
    """How a decision is labelled wherever it is shown: who vouches that it was this human."""
    return {
        Assurance.BEARER: f"bearer:{channel}",
        Assurance.RELAYED: f"relayed:{channel}",
        Assurance.SESSION: f"session:{channel}",
        Assurance.OWN_KEY: "own key",
    }[assurance]


def terms_of(advance: Advance) -> bytes:
    """The terms as the arguments that are shown, hashed and signed."""
    limits = {one.path: limit(one, set()) for one in advance.bounds}
    return wire.encode(
        {"granted_action": advance.action, "granted_resource": advance.resource, "calls": advance.uses,
         "seconds": advance.ttl_s, "limits": limits or "none", "proposed_by": advance.proposed_by, "reason": advance.reason}
    )  # fmt: skip
