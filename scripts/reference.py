"""The reference pages of the documentation, made from the code that they describe.

    python -m scripts.reference            # write docs/reference/*.md
    python -m scripts.reference --check    # say which pages are out of date; exit code 1 if there are any

Every page begins with a line that says where it comes from. A test holds the files equal to what this script makes.
"""

from __future__ import annotations

import argparse
import ast
import enum
import io
import re
import sys
import tokenize
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import msgspec

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made by scripts/reference.py from {source}. Change that, then run `python -m scripts.reference`. -->"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a page is out of date")
    wanted = parser.parse_args()
    stale = [name for name, text in pages() if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != text]
    if not wanted.check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in pages():
            (FOLDER / name).write_text(text)
    for name in stale:
        print(f"{'out of date' if wanted.check else 'written'}: docs/reference/{name}")
    return 1 if wanted.check and stale else 0


def pages() -> Iterator[tuple[str, str]]:
    for name, make in PAGES.items():
        yield name, make().rstrip() + "\n"


# --- words ------------------------------------------------------------------------------------------------------------


def page(title: str, source: str, intro: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", MADE.format(source=source), intro.strip(), *parts])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def code(text: object) -> str:
    return f"`{text}`" if text not in (None, "") else ""


# --- types ------------------------------------------------------------------------------------------------------------


def type_text(type_: Any) -> str:
    """A type as a reader of the wire sees it, with its limits."""
    limits: list[str] = []
    while get_origin(type_) is Annotated or hasattr(type_, "__supertype__"):
        if get_origin(type_) is Annotated:
            limits += [
                text for meta in get_args(type_)[1:] if isinstance(meta, msgspec.Meta) for text in limit_texts(meta)
            ]
            type_ = get_args(type_)[0]
        else:
            type_ = type_.__supertype__
    return ", ".join([base_text(type_), *dict.fromkeys(limits)])


def limit_texts(meta: msgspec.Meta) -> Iterator[str]:
    if meta.ge is not None and meta.le is not None:
        yield f"{meta.ge} to {meta.le}"
    elif meta.ge is not None:
        yield f"{meta.ge} or more"
    elif meta.le is not None:
        yield f"{meta.le} at most"
    if meta.max_length is not None:
        yield f"{meta.min_length or 0} to {meta.max_length} long"


def base_text(type_: Any) -> str:
    origin = get_origin(type_)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(v) for v in get_args(type_) if v is not type(None))
    if origin is Literal:
        return " or ".join(str(v) for v in get_args(type_))
    if origin in (tuple, list, frozenset, set):
        return f"list of {type_text(get_args(type_)[0])}"
    if origin is dict:
        return "object"
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return " or ".join(str(member.value) for member in type_)
    named = {str: "text", int: "integer", bool: "boolean", float: "number", bytes: "bytes", dict: "object"}
    return named.get(type_) or str(getattr(type_, "__name__", type_))


def shown_default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, enum.Enum):
        return code(value.value)
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple | list):
        return code("[" + ", ".join(f'"{v}"' for v in value) + "]")
    return code(value if value != "" else '""')


# --- errors -----------------------------------------------------------------------------------------------------------

PREFIX_NAMES = {"PL": "Platform", "RT": "Runtime", "MT": "Metering", "OV": "Oversight", "MS": "Messaging"}


def errors() -> str:
    from creto.common.codes import ROWS, CodeRow

    def retry(row: CodeRow) -> str:
        from creto.common.codes import ExponentialBackoff, FixedDelay, Never, RetryAfter

        match row.retry:
            case Never():
                return "no"
            case ExponentialBackoff(first, longest, attempts):
                return f"after {first} s, doubling to {longest:g} s, {attempts} times"
            case FixedDelay(delay, attempts):
                return f"every {delay:g} s, {attempts} times"
            case RetryAfter(delay):
                return f"once, after the period it names ({delay:g} s if none)"

    parts = []
    for prefix, title in PREFIX_NAMES.items():
        rows = sorted((r for r in ROWS if r.code.startswith(prefix)), key=lambda r: r.code)
        cells = [
            (f'<a id="{r.code.lower()}"></a>`{r.code}`', r.title + (f". {r.hint}" if r.hint else ""), code(r.kind),
             str(r.http), r.grpc.name, retry(r))
            for r in rows
        ]  # fmt: skip
        parts.append(
            f"## {title}\n\n" + table(("Code", "Meaning, and what to do", "Class", "HTTP", "gRPC", "Try again?"), cells)
        )
    intro = """
Every refusal is an `EnablementError` with one of these codes. The class is the kind of failure and what Python code catches; the code
says exactly which one. A code never changes its meaning. Over REST an error is a problem document (RFC 9457) whose member `error` is the
whole error; over gRPC it is a status with the same error as JSON in the trailer `creto-error-bin`.

The codes of the products (`RT`, `MT`, `OV`, `MS`) are part of the contract already; the parts that raise most of them are not built yet.
"""
    return page("Error codes", "`src/creto/common/codes.py`", intro, *parts)


# --- configuration ----------------------------------------------------------------------------------------------------


def comments_by_line(path: Path) -> dict[int, str]:
    with path.open("rb") as file:
        tokens = tokenize.tokenize(file.readline)
        return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def field_comments(path: Path) -> dict[tuple[str, str], str]:
    """(class, field) → the comment behind the field."""
    said = comments_by_line(path)
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    lines = range(item.lineno, (item.end_lineno or item.lineno) + 1)
                    found[node.name, item.target.id] = " ".join(said[n] for n in lines if n in said)
    return found


def configuration() -> str:
    from creto.common import settings
    from creto.common.config import declared

    said = field_comments(Path(settings.__file__))
    parts = []
    for name, group in groupby(declared(), key=lambda f: f.key.partition(".")[0]):
        fields = list(group)
        docs = dict.fromkeys(own_doc(f.owner) for f in fields)
        rows = [
            (
                code(f.key),
                ("secret text" if f.secret else type_text(f.type)) + limits_said(f.type),
                "" if f.secret else shown_default(f.default),
                "live" if f.live else "restart",
                "; ".join(filter(None, [said.get((f.owner.__name__, f.name), ""), "" if is_read(f.name) else UNREAD])),
            )
            for f in fields
        ]
        text = "\n\n".join(d for d in docs if d)
        body = table(("Key", "Type", "Default", "Changes with", "Note"), rows)
        parts.append(f"## {name}\n\n" + (f"{text}\n\n" if text else "") + body)
    intro = """
Defaults come first, then `/etc/creto/enablement.toml`, then `creto.toml` in the folder where creto starts, then the files named with
`--config`, then the environment. `store.url` is the key `url` of the table `[store]`, or `CRETO_STORE__URL` in the environment.
`${NAME}` in a file takes a value from the environment; `$${NAME}` stands for itself. An unknown key is refused with the nearest name.
`creto config show --origin` says what holds and where each value comes from; secrets are masked.

A key that changes *live* is taken up on SIGHUP; the others wait for a restart. A reload that does not validate changes nothing. Keys that
nothing reads yet are marked: most belong to the products that are not built yet.
"""
    return page("Configuration", "`src/creto/common/settings.py`", intro, *parts)


UNREAD = "accepted; nothing reads it yet"
SETTINGS = ROOT / "src/creto/common/settings.py"


@cache
def sources() -> tuple[str, ...]:
    return tuple(p.read_text() for p in (ROOT / "src").rglob("*.py") if p != SETTINGS)


def is_read(name: str) -> bool:
    """Whether any module names it as an attribute; the settings themselves, of what is configured: they check each key too."""
    return any(re.search(rf"\.{name}\b", text) for text in sources()) or f"Config].{name}" in SETTINGS.read_text()


def limits_said(type_: Any) -> str:
    """`X | None` where X has limits hides none of them: type_text descends."""
    return " (optional)" if type(None) in get_args(type_) else ""


def own_doc(cls: type) -> str:
    doc = ast.get_docstring(class_node(cls)) if class_node(cls) else None
    return doc or ""


def class_node(cls: type) -> Any:
    module = sys.modules[cls.__module__]
    tree = ast.parse(Path(str(module.__file__)).read_text())
    return next((n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls.__name__), None)


# --- endpoints --------------------------------------------------------------------------------------------------------

PART_TEXTS = {
    "agents": "Identities: who they are, their keys and their life. [Concept](../concepts/identity.md).",
    "auth": "Tokens. [Concept](../concepts/identity.md#how-a-caller-proves-who-it-is).",
    "delegations": "Chains by which one acts for another. [Concept](../concepts/identity.md#delegation).",
    "policies": "Decisions, policies, roles, override tokens. [Concept](../concepts/policies.md).",
    "audit": "The log. [Concept](../concepts/ledger.md).",
    "memory": "What agents remember. [Concept](../concepts/memory.md).",
    "objects": "Sealed objects. [Concept](../concepts/storage.md).",
    "time": "Timestamps. [Concept](../concepts/time.md).",
    "leases": "Who may act alone. [Concept](../concepts/time.md#leases).",
    "system": "The layer itself.",
}


def endpoints() -> str:
    from creto.edge.api import ENDPOINTS
    from creto.edge.rest.openapi import COMMON_CODES

    parts = []
    for part in dict.fromkeys(e.part for e in ENDPOINTS):
        mine = [e for e in ENDPOINTS if e.part == part]
        rows = [(f"[{e.verb}](#{anchor(e.name)})", code(f"{e.method} {e.path}"), e.summary, code(e.action or "")) for e in mine]  # fmt: skip
        overview = table(("", "Request", "What it does", "Scope"), rows)
        parts.append(f"## {part}\n\n{PART_TEXTS.get(part, '')}\n\n{overview}\n\n" + "\n\n".join(map(endpoint, mine)))
    common = ", ".join(f"[{c}](errors.md#{c.lower()})" for c in COMMON_CODES)
    intro = f"""
The REST address is `http://127.0.0.1:8081` unless configured otherwise; `/openapi.json` there is the same table as OpenAPI 3.1. The
[gRPC services](grpc.md) and the methods of the SDK come from it too: `agents.get` here is `creto.agents.get(agent=…)` there.

| header | what it carries |
|---|---|
| `Authorization: Bearer …` | a token; needed wherever a scope is named below |
| `Creto-Delegation: …` | base64url of the delegation chain by which an agent acts for a human or a service |
| `Creto-Override: …` | a human's approval of exactly this operation |
| `Idempotency-Key: …` | the same key with the same request again has the same answer and no second effect, for a day |
| `Traceparent: …` | W3C trace context; answers carry one too |

Bytes in JSON are base64. Timestamps are integers: nanoseconds since 1970. Fields named in the path come from there; of the others, GET and
DELETE take them from the query and the rest from the JSON body. Unknown fields are refused. Lists come in pages: pass `cursor` from
one answer to the next question until there is none.

Any endpoint may answer with {common}. Codes of its own are named with it.
"""
    return page("Endpoints", "the table `ENDPOINTS` in `src/creto/edge/api`", intro, *parts)


def anchor(name: str) -> str:
    return name.replace(".", "").replace("_", "_").lower()


def endpoint(e: Any) -> str:
    lines = [f"### {e.name}", "", f"`{e.method} {e.path}` → {e.status} {answer_text(e)}. {e.summary}."]
    doc = own_doc(e.request_type)
    if doc:
        lines += ["", doc]
    fields = {f.name: f for f in msgspec.structs.fields(e.request_type)}
    rows = []
    for name in e.request_type.__struct_fields__:
        place = "path" if name in e.path_fields else "body, as it comes" if name == e.raw_body else "query" if name in e.query_fields else "body"  # fmt: skip
        required = fields[name].required
        default = (
            ""
            if required
            else shown_default(None if fields[name].default is msgspec.NODEFAULT else fields[name].default)
        )
        rows.append((code(name), place, type_text(e.hints[name]), "required" if required else default or "optional"))
    if rows:
        lines += ["", table(("Field", "In", "Type", "Default"), rows)]
    if e.errors:
        lines += ["", "Codes of its own: " + ", ".join(f"[{c}](errors.md#{c.lower()})" for c in e.errors) + "."]
    return "\n".join(lines)


def answer_text(e: Any) -> str:
    from creto.edge.api.endpoint import Blob, Nothing

    if e.response is Nothing:
        return "nothing"
    return "the bytes" if e.response is Blob else code(e.response.__name__)


# --- gRPC -------------------------------------------------------------------------------------------------------------


def grpc() -> str:
    from creto.edge.api import ENDPOINTS
    from creto.edge.grpc.schema import PACKAGE, Schema, as_text, method_name, service_name

    schema = Schema(ENDPOINTS)
    rows = [(code(f"{PACKAGE}.{service_name(e)}/{method_name(e)}"), f"[{e.name}](endpoints.md#{anchor(e.name)})") for e in ENDPOINTS]  # fmt: skip
    intro = """
The gRPC address is `127.0.0.1:8080` unless configured otherwise. The methods are the [endpoints](endpoints.md), unary, with the same names,
fields, codes and headers (as metadata: `authorization`, `creto-delegation`, `creto-override`, `idempotency-key`, `traceparent`).
Health (`grpc.health.v1.Health`) and reflection are served. A call without a deadline gets 30 seconds. An error is a status whose
trailer `creto-error-bin` holds the whole error as JSON. A field's number is its place in the struct and never changes.
"""
    contract = "## The contract\n\n```proto\n" + as_text(schema).rstrip() + "\n```"
    return page(
        "gRPC", "the table `ENDPOINTS` in `src/creto/edge/api`", intro, table(("Method", "Endpoint"), rows), contract
    )


# --- limits -----------------------------------------------------------------------------------------------------------


def limits() -> str:
    from creto.common import limits as module

    path = Path(module.__file__)
    source = path.read_text()
    titles = {t.start[0]: t.string.lstrip("# ") for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT and t.start[1] == 0}  # fmt: skip
    said = comments_by_line(path)
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        title = max((n for n in titles if n < node.lineno), default=0)
        name, value = node.target.id, getattr(module, node.target.id)
        reason = " ".join(said[n] for n in range(node.lineno, (node.end_lineno or node.lineno) + 1) if n in said)
        sections.setdefault(titles.get(title, "Limits"), []).append((code(name), number_text(value), reason))
    parts = [f"## {title}\n\n" + table(("Limit", "Value", "Why"), rows) for title, rows in sections.items()]
    intro = """
Every queue, body, batch, page, retry and depth has a limit. What lies beyond is refused with an error that names the limit; nothing is cut
off in silence. The unit is the last word of the name but `MAX`; a name without one counts things.
"""
    return page("Limits", "`src/creto/common/limits.py`", intro, *parts)


def number_text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


# --- command line -----------------------------------------------------------------------------------------------------


def cli() -> str:
    from creto.cli.root import COMMANDS, root

    sections: dict[str, list[str]] = {}
    for name, lazy in COMMANDS.items():
        sections.setdefault(lazy.section, []).append(name)
    overview = "\n\n".join(
        f"**{title}**\n\n" + table(("Command", ""), [(f"[`creto {n}`](#creto-{n})", COMMANDS[n].help) for n in names])
        for title, names in sections.items()
    )
    context = click.Context(root, info_name="creto", **root.context_settings)
    general = "## Options of every command\n\n" + options_table(root, context)
    parts = [text for name in COMMANDS for text in command_texts(root, name, context)]
    intro = """
`creto` is installed with the package; in a checkout, `./run WORD…` is the same. A command works on the configured installation, or with
`--url` on one that runs elsewhere. `creto COMMAND --help` says what is here. [Exit codes](exit-codes.md) are the same for all.
"""
    return page("Command line", "`src/creto/cli`", intro, overview, general, *parts)


def command_texts(parent: click.Command, name: str, above: click.Context, depth: int = 2) -> Iterator[str]:
    assert isinstance(parent, click.Group)
    command = parent.get_command(above, name)
    assert command is not None, name
    context = click.Context(command, info_name=name, parent=above, **command.context_settings)
    usage = f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    help_ = (command.help or "").replace("\b\n", "").replace("\b", "").split("\f")[0].strip()
    text = f"{'#' * min(depth, 4)} {context.command_path}\n\n```text\n{usage}\n```\n\n{dedented(help_)}"
    example = getattr(command, "example", "")
    text += f"\n\n```sh\n{example}\n```" if example else ""
    table_ = options_table(command, context)
    yield text + (f"\n\n{table_}" if table_ else "")
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from command_texts(command, child, context, depth + 1)


def dedented(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def options_table(command: click.Command, context: click.Context) -> str:
    rows = []
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and record[1] and "--help" not in param.opts:
            rows.append((code(record[0]), record[1]))
    return table(("Option", ""), rows) if rows else ""


def exit_codes() -> str:
    from creto.cli.exits import MEANINGS

    rows = [(str(int(number)), meaning) for number, meaning in MEANINGS.items()]
    intro = "What `creto` says to the program that called it. A number never changes its meaning."
    return page("Exit codes", "`src/creto/cli/exits.py`", intro, table(("Code", "Meaning"), rows))


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors,
    "configuration.md": configuration,
    "endpoints.md": endpoints,
    "grpc.md": grpc,
    "limits.md": limits,
    "cli.md": cli,
    "exit-codes.md": exit_codes,
}

if __name__ == "__main__":
    sys.exit(main())
