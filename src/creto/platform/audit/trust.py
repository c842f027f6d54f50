"""Whom to believe: the log's keys and how many witnesses must have seen a checkpoint.

    trust = Trust.parse(Path("trust.json").read_bytes())     # ours, or a C2SP tlog-policy
    trust.check(checkpoint)                                  # raises PL-606 or PL-607

A log's keys stand together: a checkpoint needs a signature by each key of one generation, so that who breaks one algorithm
gains nothing. A generation that was rotated away is believed up to the size at which it was.

INVARIANT: a signature by a known key that does not verify condemns the whole checkpoint.
"""

from __future__ import annotations

import msgspec

from creto.common import wire
from creto.common.errors import AuditError, InvalidInput, SignatureVerificationFailed
from creto.common.limits import WITNESSES_MAX
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.keys import NoteKey

NONE = "none"


class LogKeys(msgspec.Struct, frozen=True, omit_defaults=True):
    """One generation of a log's keys, as vkeys. All of them must have signed."""

    vkeys: tuple[str, ...]
    size_max: int | None = None  # the last size they may sign, once they are rotated


class Group(msgspec.Struct, frozen=True):
    """At least `threshold` of the members, each a witness or an earlier group."""

    threshold: int
    members: tuple[str, ...]


class Trust(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    logs: tuple[LogKeys, ...]
    witnesses: dict[str, str] = {}  # name in this policy -> vkey
    groups: dict[str, Group] = {}
    quorum: str = NONE

    @staticmethod
    def of(*keys: NoteKey, witnesses: tuple[NoteKey, ...] = (), k: int | None = None) -> Trust:
        """One log with these keys, and `k` of these witnesses (all of them unless said otherwise)."""
        names = {f"w{number}": key.vkey for number, key in enumerate(witnesses, 1)}
        logs = (LogKeys(tuple(key.vkey for key in keys)),)
        if not names:
            return Trust(logs).checked()
        groups = {"all": Group(len(names) if k is None else k, tuple(names))}
        return Trust(logs, names, groups, "all").checked()

    @staticmethod
    def parse(data: bytes) -> Trust:
        if data.lstrip()[:1] == b"{":
            return wire.decode(data, Trust, code="PL-610", what="trust").checked()
        return parse_policy(data)

    def encode(self) -> bytes:
        return wire.encode(self)

    def checked(self) -> Trust:
        if not self.logs or not all(log.vkeys for log in self.logs):
            raise refused("logs", "no key", "at least one log key")
        keys = [[NoteKey.parse(v) for v in log.vkeys] for log in self.logs]
        if any(key.type.is_witness for generation in keys for key in generation):
            raise refused("logs", "a witness's key", "keys of the types Ed25519 or hybrid")
        if any(len({key.name for key in generation}) > 1 for generation in keys):
            raise refused("logs", "keys of two origins in one generation", "one origin")
        witness_keys = [NoteKey.parse(v) for v in self.witnesses.values()]
        if not all(key.type.is_witness for key in witness_keys):
            raise refused("witnesses", "a key of another type", "cosignature keys")
        if len({key.public for key in witness_keys}) < len(witness_keys) or len(witness_keys) > WITNESSES_MAX:
            raise refused("witnesses", "the same key twice, or too many", f"at most {WITNESSES_MAX} distinct keys")
        self._check_groups()
        return self

    def _check_groups(self) -> None:
        known = set(self.witnesses)
        used: set[str] = set()
        for name, group in self.groups.items():
            members = set(group.members)
            if not members <= known or members & used or len(members) < len(group.members):
                raise refused(f"group {name}", group.members, "members that are defined before, each in one group only")
            if not 1 <= group.threshold <= len(members) or name in known or name == NONE:
                raise refused(f"group {name}", group.threshold, f"a new name and a threshold of 1 to {len(members)}")
            known.add(name)
            used |= members
        if self.quorum not in known | {NONE}:
            raise refused("quorum", self.quorum, "a witness, a group or none")

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(NoteKey.parse(log.vkeys[0]).name for log in self.logs)

    def check(self, checkpoint: Checkpoint) -> frozenset[str]:
        """The names of the witnesses that have seen it. Raises PL-606 without the log's signatures, PL-607 without the quorum."""
        seen = self._witnesses_of(checkpoint)
        self._check_log(checkpoint)
        if not self._met(self.quorum, seen):
            raise AuditError(
                "PL-607",
                f"too few witnesses have seen the checkpoint of size {checkpoint.size}",
                got=", ".join(sorted(seen)) or "none",
                expected=f"the quorum {self.quorum!r}",
            )
        return seen

    def _check_log(self, checkpoint: Checkpoint) -> None:
        for log in self.logs:
            if log.size_max is not None and checkpoint.size > log.size_max:
                continue
            keys = [NoteKey.parse(v) for v in log.vkeys]
            if all(key.name == checkpoint.origin and verified(key, checkpoint) is not None for key in keys):
                return
        raise SignatureVerificationFailed(
            "PL-606",
            f"no trusted key of {checkpoint.origin} has signed the checkpoint of size {checkpoint.size}",
            got=", ".join(f"{s.name}+{s.key_id.hex()}" for s in checkpoint.signatures) or "no signature",
            expected=", ".join(vkey[:60] for log in self.logs for vkey in log.vkeys),
        )

    def _witnesses_of(self, checkpoint: Checkpoint) -> frozenset[str]:
        return frozenset(
            name for name, vkey in self.witnesses.items() if verified(NoteKey.parse(vkey), checkpoint) is not None
        )

    def _met(self, name: str, seen: frozenset[str]) -> bool:
        if name == NONE or name in seen:
            return True
        group = self.groups.get(name)
        return group is not None and sum(self._met(member, seen) for member in group.members) >= group.threshold


def verified(key: NoteKey, checkpoint: Checkpoint) -> int | None:
    """When this key signed the checkpoint, or None if it did not. Raises PL-606 if its signature is wrong."""
    times = [key.verify(checkpoint, s) for s in checkpoint.signatures if key.made(s)]
    return max(times) if times else None


def parse_policy(data: bytes) -> Trust:
    """A C2SP tlog-policy: any of its logs is believed."""
    logs: list[LogKeys] = []
    witnesses: dict[str, str] = {}
    groups: dict[str, Group] = {}
    quorum: str | None = None
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise refused("policy", "bytes that are not UTF-8", "UTF-8 text") from error
    for line in lines:
        words = line.replace("\t", " ").split(" ")
        match [word for word in words if word]:
            case []:
                continue
            case [first, *_] if first.startswith("#"):
                continue
            case ["log", vkey] | ["log", vkey, _]:
                logs.append(LogKeys((vkey,)))
            case ["witness", name, vkey] | ["witness", name, vkey, _] if name not in witnesses | groups:
                witnesses[name] = vkey
            case ["group", name, how, *members] if members and name not in witnesses | groups:
                groups[name] = Group(threshold(how, len(members)), tuple(members))
            case ["quorum", name] if quorum is None:
                quorum = name
            case _:
                raise refused("policy", line, "a line: log, witness, group or quorum")
    if quorum is None:
        raise refused("policy", "no quorum", "one quorum line")
    return Trust(tuple(logs), witnesses, groups, quorum).checked()


def threshold(how: str, members: int) -> int:
    if how in ("all", "any"):
        return members if how == "all" else 1
    if not (how.isascii() and how.isdigit() and len(how) < 4):
        raise refused("group", how, "all, any or a number")
    return int(how)


def refused(field: str, got: object, expected: str) -> InvalidInput:
    return InvalidInput.of(field, got=got, expected=expected, code="PL-610")
