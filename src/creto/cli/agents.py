"""`creto agents`: identities and their life."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from creto.cli.choices import (
    DURATION,
    collected,
    confirmed,
    file_path,
    folder_path,
    key_file_option,
    key_option,
    limit_option,
    out_option,
    reason_option,
    seconds,
    yes_option,
)
from creto.cli.context import Cli, group, pass_cli, read_text, write
from creto.cli.keyfiles import load_public, signing_key
from creto.cli.local import keystore_of, running_here
from creto.cli.output import Column, when
from creto.cli.session import session, tenant_of
from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, NotFound
from creto.common.ids import AgentId, SandboxId, agent_key
from creto.platform.audit import Principal
from creto.platform.consensus import PersonId
from creto.platform.crypto import SigningKey, VerifyKey
from creto.platform.crypto.jose import b64url_decode, b64url_encode
from creto.platform.nhi import (
    Identity,
    IdentityState,
    PrincipalKind,
    Revocation,
    nhi_of,
    registration_proof,
    request_proof,
    rotation_proofs,
)
from creto.tenants import OPERATOR_KEY, with_way_out

PROOF_BYTES_MAX = 16 * 1024

agents = group("agents", "Identities: humans, services and the agents that act for them.")

COLUMNS: Sequence[Column[Identity]] = (
    Column("AGENT", lambda i: i.nhi, shrinks=True),
    Column("KIND", lambda i: i.kind),
    Column("NAME", lambda i: i.name, shrinks=True),
    Column("STATE", lambda i: i.state),
    Column("REGISTERED", lambda i: when(i.registered_at)),
)

kind_option = click.option(
    "--kind",
    type=click.Choice([kind.value for kind in PrincipalKind]),
    default="agent",
    show_default=True,
    help="Humans and services act on their own account; an agent acts for one of them.",
)
name_option = click.option("--name", required=True, help="What people call it.")
owner_option = click.option("--owner", metavar="AGENT", help="Who answers for it.")


def identity_lines(identity: Identity) -> list[tuple[str, object]]:
    return [
        ("agent", identity.nhi),
        ("kind", identity.kind),
        ("name", identity.name),
        ("state", identity.state),
        ("owner", identity.owner),
        ("keys", "Ed25519 and ML-DSA-65" if identity.public_key_ml_dsa else "Ed25519"),
        ("registered", when(identity.registered_at)),
        ("changed", when(identity.changed_at)),
        ("retires", when(identity.retires_at) if identity.retires_at else None),
        ("origin", identity.origin if identity.origin != identity.nhi else None),
        ("predecessor", identity.predecessor),
        ("successor", identity.successor),
        ("reason", identity.reason),
    ]


@agents.command("list")
@click.option("--kind", type=click.Choice([kind.value for kind in PrincipalKind]))
@click.option("--state", type=click.Choice([state.value for state in IdentityState]))
@click.option("--owner", metavar="AGENT")
@limit_option
@pass_cli
async def list_(cli: Cli, kind: str | None, state: str | None, owner: str | None, limit: int) -> None:
    """Identities, in order of registration."""
    asked = {
        "kind": PrincipalKind(kind) if kind else None,
        "state": IdentityState(state) if state else None,
        "owner": AgentId(owner) if owner else None,
    }
    async with session(cli) as creto:
        found = await collected(creto.agents.list, limit, cli.output.note, **asked)
    cli.output.items(found, COLUMNS, nothing="No identities.")


@agents.command()
@click.argument("agent")
@pass_cli
async def show(cli: Cli, agent: str) -> None:
    """One identity."""
    async with session(cli) as creto:
        found = await creto.agents.get(agent=AgentId(agent))
    cli.output.thing(found, identity_lines(found))


@agents.command()
@name_option
@kind_option
@owner_option
@click.option("--key", "key_id", metavar="ID", help="Use this key of the keystore instead of a fresh one.")
@click.option("--key-file", type=file_path, help="Use this key file; nothing goes into the keystore.")
@click.option("--public-key-file", type=file_path, help="Register a key whose owner is elsewhere; needs --proof-file.")
@click.option("--proof-file", type=file_path, help="What `creto agents proof` gave them.")
@pass_cli
async def register(
    cli: Cli,
    name: str,
    kind: str,
    owner: str | None,
    key_id: str | None,
    key_file: Path | None,
    public_key_file: Path | None,
    proof_file: Path | None,
) -> None:
    """Register an identity by its public key.

    Without an option for the key a fresh one is made, and kept in the local keystore under the agent's id.
    """
    principal, owned_by = PrincipalKind(kind), AgentId(owner) if owner else None
    if public_key_file is not None:
        if proof_file is None or key_id or key_file:
            raise InvalidInput.of(
                "--proof-file", got="none, or another key", expected="the owner's proof, and no other key"
            )
        public, proof = load_public(public_key_file), read_proof(proof_file)
        async with session(cli) as creto:
            made = await creto.agents.register(
                kind=principal, name=name, verify_key=public.to_bytes(), proof=proof, owner=owned_by
            )
    else:
        fresh = key_id is None and key_file is None
        key = await kept_key(cli) if fresh else await signing_key(cli, key_id, key_file)
        try:
            made = await registered(cli, key, principal, name, owned_by)
        except EnablementError:
            if fresh:
                await forgotten_key(cli, key)
            raise
    cli.output.say(made, made.nhi)


async def registered(cli: Cli, key: SigningKey, kind: PrincipalKind, name: str, owner: AgentId | None) -> Identity:
    async with session(cli) as creto:
        proof = registration_proof(key, tenant=tenant_of(cli), kind=kind, name=name, owner=owner)
        return await creto.agents.register(
            kind=kind, name=name, verify_key=key.public.to_bytes(), proof=proof, owner=owner
        )


async def kept_key(cli: Cli) -> SigningKey:
    """A fresh key, stored before anybody hears of it."""
    key = SigningKey.generate()
    async with keystore_of(cli) as keystore:
        await keystore.put(cli.configured_tenant(), nhi_of(key.public), key)
    return key


async def forgotten_key(cli: Cli, key: SigningKey) -> None:
    async with keystore_of(cli) as keystore:
        await keystore.remove(cli.configured_tenant(), nhi_of(key.public))


def read_proof(path: Path) -> bytes:
    text = read_text(path, bytes_max=PROOF_BYTES_MAX)
    return b64url_decode(text, "the proof", "PL-210")


@agents.command()
@name_option
@kind_option
@owner_option
@key_option
@key_file_option
@out_option
@pass_cli
async def proof(
    cli: Cli, name: str, kind: str, owner: str | None, key_id: str | None, key_file: Path | None, out: Path | None
) -> None:
    """Prove that you hold a key, for an operator who registers it elsewhere with the same name, kind and owner.

    The tenant is part of the proof: name it with `creto --tenant` if it is not the configured one.
    """
    key = await signing_key(cli, key_id, key_file)
    made = registration_proof(
        key,
        tenant=cli.configured_tenant(),
        kind=PrincipalKind(kind),
        name=name,
        owner=AgentId(owner) if owner else None,
    )
    write(out, b64url_encode(made).encode() + b"\n")


@agents.command()
@click.argument("agent")
@click.option("--key", "key_id", metavar="ID", help="The present key in the keystore; the agent's id, if not given.")
@click.option("--key-file", type=file_path, help="The present key file.")
@click.option("--new-key-file", type=file_path, help="The new key file; a fresh key in the keystore, if not given.")
@click.option("--overlap", type=DURATION, default="1d", show_default=True, help="How long the old key stays good.")
@pass_cli
async def rotate(
    cli: Cli, agent: str, key_id: str | None, key_file: Path | None, new_key_file: Path | None, overlap: int
) -> None:
    """Replace the key. The successor is a new identity of the same line. After a theft do not rotate: revoke."""
    old = await signing_key(cli, key_id or (agent if key_file is None else None), key_file)
    if nhi_of(old.public) != agent:
        raise InvalidInput.of("AGENT", got=agent, expected=f"{nhi_of(old.public)}, whose key this is")
    new = await kept_key(cli) if new_key_file is None else await signing_key(cli, None, new_key_file)
    try:
        async with session(cli) as creto:
            old_proof, new_proof = rotation_proofs(old, new, tenant=tenant_of(cli))
            made = await creto.agents.rotate(
                agent=AgentId(agent),
                verify_key=new.public.to_bytes(),
                old_proof=old_proof,
                new_proof=new_proof,
                overlap_s=seconds(overlap),
            )
    except EnablementError:
        if new_key_file is None:
            await forgotten_key(cli, new)
        raise
    if new_key_file is None:
        await kept_as_operator(cli, old, new)
    cli.output.say(made, made.nhi)


async def kept_as_operator(cli: Cli, old: SigningKey, new: SigningKey) -> None:
    """The operator's key has a name of its own in the keystore; who is operator follows the line even without it."""
    tenant = cli.configured_tenant()
    async with keystore_of(cli) as keystore:
        with suppress(NotFound):
            if (await keystore.signing_key(tenant, OPERATOR_KEY)).public == old.public:
                await keystore.rotate(tenant, OPERATOR_KEY, new)


def revocation_said(cli: Cli, what: str, agent: str, done: Revocation) -> None:
    also = len(done.identities) - 1
    cli.output.say(
        done,
        f"{what} {agent}" + (f" and {also} other {'key' if also == 1 else 'keys'} of its line." if also > 0 else "."),
    )
    if not done.everywhere:
        cli.output.note("Some node has not confirmed it yet; nodes that cannot be reached distrust their memory.")


@agents.command()
@click.argument("agent")
@reason_option
@pass_cli
async def suspend(cli: Cli, agent: str, reason: str | None) -> None:
    """Stop an identity, and whoever acts for it, until it is resumed."""
    async with session(cli) as creto:
        revocation_said(cli, "Suspended", agent, await creto.agents.suspend(agent=AgentId(agent), reason=reason))


@agents.command()
@click.argument("agent")
@reason_option
@pass_cli
async def resume(cli: Cli, agent: str, reason: str | None) -> None:
    """Let a suspended identity act again."""
    async with session(cli) as creto:
        done = await creto.agents.resume(agent=AgentId(agent), reason=reason)
    cli.output.say(done, f"Resumed {agent}.")


@agents.command()
@click.argument("agent")
@reason_option
@yes_option
@pass_cli
async def revoke(cli: Cli, agent: str, reason: str | None, yes: bool) -> None:
    """End an identity for ever, and everybody's right to act for it."""
    confirmed(f"Revoke {agent} for ever?", yes)
    async with session(cli) as creto:
        revocation_said(cli, "Revoked", agent, await creto.agents.revoke(agent=AgentId(agent), reason=reason))


@agents.command()
@click.argument("sandbox")
@pass_cli
async def bound(cli: Cli, sandbox: str) -> None:
    """The agent that SANDBOX runs."""
    async with session(cli) as creto:
        found = await creto.agents.bound_identity(sandbox_id=SandboxId(sandbox))
    cli.output.say(found, found.agent)


@agents.command()
@click.argument("sandbox")
@click.argument("agent")
@pass_cli
async def unbind(cli: Cli, sandbox: str, agent: str) -> None:
    """Free SANDBOX of the AGENT that it runs, so that another can be bound to it."""
    async with session(cli) as creto:
        await creto.agents.unbind_identity(sandbox_id=SandboxId(sandbox), agent=AgentId(agent))
    cli.output.say({"unbound": sandbox}, f"{sandbox} runs {agent} no more.")


@agents.command()
@click.argument("agent")
@pass_cli
async def prekeys(cli: Cli, agent: str) -> None:
    """How many one-time keys others can still open sessions with AGENT by."""
    async with session(cli) as creto:
        found = await creto.agents.prekey_counts(agent=AgentId(agent))
    cli.output.thing(found, [("one-time X25519", found.one_time_dh), ("one-time ML-KEM-768", found.one_time_kem)])


@agents.command()
@click.argument("agent")
@pass_cli
async def jwk(cli: Cli, agent: str) -> None:
    """The public keys as a JSON Web Key set (RFC 7517, RFC 9964)."""
    async with session(cli) as creto:
        click.echo(msgspec.json.encode(await creto.agents.jwk(agent=AgentId(agent))))


@agents.command("keys")
@click.argument("agents_", metavar="[AGENT]...", nargs=-1)
@limit_option
@out_option
@pass_cli
async def keys_(cli: Cli, agents_: tuple[str, ...], limit: int, out: Path | None) -> None:
    """Public keys of these identities (or of all), whose they are, and the layer's own, as one JSON object for `creto verify --agents`."""
    async with session(cli) as creto:
        if agents_:
            found = [await creto.agents.get(agent=AgentId(agent)) for agent in agents_]
        else:
            found = await collected(creto.agents.list, limit, cli.output.note)
        layer = await creto.approvals.signer()
    keys = {identity.nhi: principal(identity) for identity in found}
    keys[layer.agent] = Principal(
        key=layer.verify_key, kind=PrincipalKind.SERVICE, person=PersonId(layer.agent), layer=True
    )
    write(out, wire.encode(keys) + b"\n")


def principal(identity: Identity) -> Principal:
    return Principal(
        key=public_of(identity).to_bytes(), kind=identity.kind, person=PersonId(identity.origin), owner=identity.owner
    )


def public_of(identity: Identity) -> VerifyKey:
    return VerifyKey.of(agent_key(identity.nhi), identity.public_key_ml_dsa)


@agents.command()
@click.argument("agent")
@click.option("--key", "key_id", metavar="ID", help="Its key in the keystore; the agent's id, if not given.")
@click.option("--key-file", type=file_path, help="Its key file.")
@click.option("--host", "hosts", multiple=True, help="A name or address that a service answers on; may be repeated.")
@click.option("--for", "ttl", type=DURATION, default="1d", show_default=True, help="How long it is good.")
@click.option("--out", "folder", type=folder_path, default=Path(), help="The folder for tls.key, tls.crt and ca.crt.")
@pass_cli
async def certificate(
    cli: Cli, agent: str, key_id: str | None, key_file: Path | None, hosts: tuple[str, ...], ttl: int, folder: Path
) -> None:
    """A short-lived certificate for mutual TLS, with a TLS key that is made here and stays here."""
    from creto.platform.crypto.x509 import new_request

    key = await signing_key(cli, key_id or (agent if key_file is None else None), key_file)
    private, request = new_request()
    async with session(cli) as creto:
        issued = await creto.agents.issue_certificate(
            agent=AgentId(agent),
            request_der=request,
            proof=request_proof(key, request, tenant=tenant_of(cli)),
            hosts=hosts,
            ttl_s=seconds(ttl),
        )
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "tls.key", private, mode=0o600)
    write(folder / "tls.crt", issued.certificate_pem)
    write(folder / "ca.crt", issued.authority_pem)
    cli.output.say(
        {"folder": str(folder), "uris": issued.uris, "not_after": issued.not_after},
        f"Made tls.key, tls.crt and ca.crt in {folder}; good until {when(issued.not_after)}.",
    )


@agents.command()
@click.argument("human", required=False)
@pass_cli
async def login(cli: Cli, human: str | None) -> None:
    """A login link for the console, for HUMAN or for the operator. It works once, within ten minutes."""
    from creto.common.settings import ServerConfig

    server = cli.config()[ServerConfig]
    async with running_here(cli, "a login link is made") as app:
        who = AgentId(human) if human else app.operator
        try:
            secret = await app.parts.nhi.login_token(app.tenant, who, scopes=("*",), actor=app.operator)
        except EnablementError as error:
            raise with_way_out(error) if who == app.operator else error from None
    scheme = "https" if server.tls_cert else "http"
    link = f"{scheme}://{server.host}:{server.rest_port}/login?link={secret}"
    cli.output.say({"login": link}, link)
