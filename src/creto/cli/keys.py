"""`creto keys`: the sealed keystore, and bearer tokens. No command prints a private key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from creto.cli.choices import (
    DURATION,
    confirmed,
    file_path,
    key_file_option,
    out_option,
    reason_option,
    seconds,
    yes_option,
)
from creto.cli.context import TOKEN_BYTES_MAX, Cli, group, pass_cli, read_text, write
from creto.cli.keyfiles import SUITES, public_text, save_key, signing_key
from creto.cli.local import keystore_of, running_here
from creto.cli.output import Column, when
from creto.cli.progress import progress
from creto.cli.session import session
from creto.common.errors import InvalidInput
from creto.common.ids import AGENT_PREFIX
from creto.common.limits import PAGE_ITEMS_MAX
from creto.platform.crypto import (
    KemPrivateKey,
    KeyKind,
    KeyRecord,
    Keystore,
    SecretKey,
    SigningKey,
    StoredKey,
    VerifyKey,
    any_suite,
)
from creto.platform.crypto.jose import to_jwks
from creto.platform.nhi import answer, nhi_of
from creto.platform.nhi.tokens import Token
from creto.tenants import OPERATOR_KEY

keys = group("keys", "Keys in the sealed keystore, and bearer tokens. A private key is never printed.")

COLUMNS: Sequence[Column[KeyRecord]] = (
    Column("KEY", lambda r: r.key_id),
    Column("VERSION", lambda r: r.version, right=True),
    Column("KIND", lambda r: r.kind),
    Column("SUITE", lambda r: any_suite(r.suite).name if r.suite else "-"),
    Column("SEALED WITH", lambda r: r.kek_id),
    Column("CREATED", lambda r: when(r.created_at)),
)


def shown(record: KeyRecord) -> str:
    return f"{record.key_id} version {record.version}, {record.kind}"


@keys.command("list")
@pass_cli
async def list_(cli: Cli) -> None:
    """Every version of every key of the tenant."""
    cli.local_only("the keystore is")
    async with keystore_of(cli) as keystore:
        cli.output.items(await records(keystore, cli.configured_tenant()), COLUMNS, nothing="No keys.")


async def records(keystore: Keystore, tenant: str) -> list[KeyRecord]:
    found: list[KeyRecord] = []
    while True:
        page = await keystore.list(tenant, after=found[-1] if found else None, limit=PAGE_ITEMS_MAX)
        found += page
        if len(page) < PAGE_ITEMS_MAX:
            return found


@keys.command()
@click.argument("key_id", metavar="ID", required=False)
@click.option("--kind", type=click.Choice([k.value for k in KeyKind]), default="signing", show_default=True)
@click.option("--suite", type=click.Choice(list(SUITES)), default="hybrid", show_default=True, help="Of a signing key.")
@click.option("--file", "file", type=file_path, help="Make a key file here instead, for a machine without a keystore.")
@pass_cli
async def create(cli: Cli, key_id: str | None, kind: str, suite: str, file: Path | None) -> None:
    """Make a key: in the keystore under ID, or in a --file that only you can read."""
    if (key_id is None) == (file is None):
        raise InvalidInput.of("ID", got="both or neither", expected="an ID or a --file")
    if file is not None:
        made = SigningKey.generate(SUITES[suite])
        save_key(file, made)
        cli.output.say({"file": str(file), "public": public_text(made.public)}, f"Made {file}.")
        return
    assert key_id is not None
    key = fresh(KeyKind(kind), suite)
    async with keystore_of(cli) as keystore:
        record = await keystore.put(cli.configured_tenant(), key_id, key)
    cli.output.say(record, f"Made {shown(record)}.")


def fresh(kind: KeyKind, suite: str) -> StoredKey:
    if kind is KeyKind.SIGNING:
        return SigningKey.generate(SUITES[suite])
    return KemPrivateKey.generate() if kind is KeyKind.KEM else SecretKey.generate()


@keys.command()
@click.argument("key_id", metavar="ID")
@pass_cli
async def rotate(cli: Cli, key_id: str) -> None:
    """A new version of a key; the old ones still open and verify. An identity's key is rotated with `creto agents rotate`."""
    refuse_identity(key_id, "rotated")
    async with keystore_of(cli) as keystore:
        record = await keystore.rotate(cli.configured_tenant(), key_id)
    cli.output.say(record, f"Made {shown(record)}.")


def refuse_identity(key_id: str, act: str) -> None:
    """A version of which nobody knows would stand for nobody: the key of an identity changes with it."""
    if key_id == OPERATOR_KEY or key_id.startswith(AGENT_PREFIX):
        whose = "the operator" if key_id == OPERATOR_KEY else key_id
        raise InvalidInput(
            "PL-132",
            f"the key of {whose} is not {act} alone: it is an identity",
            field="key_id",
            got=key_id,
            hint="`creto agents rotate AGENT` gives an identity a new key; `creto agents list --kind human` shows the operator.",
        )


@keys.command("rotate-log")
@out_option
@pass_cli
async def rotate_log(cli: Cli, out: Path | None) -> None:
    """A new key signs the audit log from here on, in every process at once. What the old one has signed stays verifiable.

    Prints the trust file with the keys of every generation: hand it to whoever verifies, and to your witnesses.
    """
    from creto.platform.audit import rotate_log_key

    async with running_here(cli, "the log's key is rotated") as app:
        audit = app.parts.audit
        await rotate_log_key(audit, app.parts.keystore)
        await audit.sequence_once()
        signed = await audit.checkpoint()
        trust = await audit.trust()
    cli.output.note(f"The log's key has changed. Generation {len(trust.logs)} has signed at size {signed.size}.")
    write(out, trust.encode() + b"\n")


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--version", "number", type=click.IntRange(min=1), help="Only this version.")
@yes_option
@pass_cli
async def remove(cli: Cli, key_id: str, number: int | None, yes: bool) -> None:
    """Forget a key, or one version of it, for good: what only it could open is lost."""
    if key_id == OPERATOR_KEY:
        refuse_identity(key_id, "removed")
    confirmed(f"Remove {key_id}{f' version {number}' if number else ''} for good?", yes)
    async with keystore_of(cli) as keystore:
        removed = await keystore.remove(cli.configured_tenant(), key_id, number)
    cli.output.say({"removed": removed}, f"Removed {removed} version{'s' if removed > 1 else ''} of {key_id}.")


@keys.command()
@click.option("--previous", metavar="SOURCE", multiple=True, help="Where an old key-encryption key comes from, beside crypto.kek_previous: file:PATH, env:NAME or command:LINE.")  # fmt: skip
@pass_cli
async def rewrap(cli: Cli, previous: tuple[str, ...]) -> None:
    """Seal every key with the key-encryption key that is configured now. May be stopped and started again.

    Servers go on meanwhile if they know both keys: restart them first with the old one in crypto.kek_previous.
    """
    async with keystore_of(cli, previous) as keystore:
        with progress(cli.output, "sealing keys again"):
            done = await keystore.rewrap()
    cli.output.say({"rewrapped": done}, f"Sealed {done} keys again; the old key-encryption key can go.")


@keys.command()
@click.argument("key_id", metavar="ID", required=False)
@key_file_option
@click.option("--jwk", is_flag=True, help="As a JSON Web Key set.")
@pass_cli
async def public(cli: Cli, key_id: str | None, key_file: Path | None, jwk: bool) -> None:
    """The public half, as one line of base64url."""
    if key_file is not None:
        key = (await signing_key(cli, key_id, key_file)).public
    else:
        async with keystore_of(cli) as keystore:
            record = await keystore.record(cli.configured_tenant(), key_id or "")
        if record.kind is not KeyKind.SIGNING:
            raise InvalidInput.of("ID", got=f"a {record.kind} key", expected="a signing key", code="PL-216")
        key = VerifyKey.from_bytes(record.public)
    if jwk:
        click.echo(msgspec.json.encode({"keys": to_jwks(key)}))
    else:
        cli.output.say({"public": public_text(key), "agent": nhi_of(key)}, public_text(key))


@keys.command()
@click.argument("key_id", metavar="ID", required=False)
@key_file_option
@click.option("--scope", "scopes", multiple=True, default=("*",), show_default=True, help="What the token may be used for, as agents:read; may be repeated.")  # fmt: skip
@click.option("--for", "ttl", type=DURATION, default="1h", show_default=True, help="How long it is good.")
@out_option
@pass_cli
async def token(
    cli: Cli, key_id: str | None, key_file: Path | None, scopes: tuple[str, ...], ttl: int, out: Path | None
) -> None:
    """A bearer token, by signing a challenge with a key. Give it to `creto --url` in CRETO_TOKEN or --token-file.

    The token acts as the identity of the key, which must be registered.
    """
    key = await signing_key(cli, key_id, key_file)
    async with session(cli) as creto:
        challenge = await creto.auth.challenge(agent=nhi_of(key.public))
        issued = await creto.auth.token(
            challenge=challenge, signature=answer(key, challenge), scopes=scopes, ttl_s=seconds(ttl)
        )
    cli.output.note(f"A token for {issued.agent}, good until {when(issued.expires_at)}.")
    if cli.output.json:
        write(out, msgspec.json.encode(issued) + b"\n", mode=0o600)
    else:
        write(out, issued.token.encode() + b"\n", mode=0o600)


@keys.command("revoke-token")
@click.argument("token_id", metavar="ID", required=False)
@click.option("--file", "file", type=file_path, help="The file that holds the token, instead of its ID; it is not sent anywhere.")  # fmt: skip
@reason_option
@pass_cli
async def revoke_token(cli: Cli, token_id: str | None, file: Path | None, reason: str | None) -> None:
    """End one bearer token before its time, with all that were narrowed from it.

    ID is the token's name, tok-…, as the entry nhi.token_issued in the audit log has it.
    """
    if (token_id is None) == (file is None):
        raise InvalidInput.of("ID", got="both or neither", expected="an ID or a --file")
    if file is not None:
        text = read_text(file, bytes_max=TOKEN_BYTES_MAX)
        token_id = Token.from_text(text).head.id
    assert token_id is not None
    async with session(cli) as creto:
        done = await creto.auth.revoke(token_id=token_id, reason=reason)
    where = "everywhere" if done.everywhere else "here; a node that did not answer distrusts its memory within seconds"
    cli.output.say(done, f"{token_id} is revoked {where}." if done.first else f"{token_id} was revoked already.")
