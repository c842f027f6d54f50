"""Pages: links and anchors resolve, every page is reachable and in the site, the reference is that of the code."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest
from scripts import reference

from creto import Creto
from creto.cli.approvers import policy_of
from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, prose

DOCS = ROOT / "docs"
REFERENCE = {name: (DOCS / "reference" / name).read_text() for name in reference.PAGES}


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return dict(reference.pages())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_anchors_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT) or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, todo = set(), [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        todo += [
            (page.parent / link.partition("#")[0]).resolve()
            for link in links(page)
            if "://" not in link and link[0] != "#"
        ]
    assert sorted(p for p in DOCS.rglob("*.md") if p not in reached) == []


def test_the_site_has_every_page() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"^\s+- [^\n]*?: ([\w/.-]+\.md)$", site, re.MULTILINE))
    assert listed == {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")}


def test_what_llms_txt_names_is_there() -> None:
    named = re.findall(r"\]\(([^)]+)\)", (ROOT / "llms.txt").read_text())
    assert named
    assert [n for n in named if not (ROOT / n).is_file()] == []


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_reference_is_that_of_the_code(name: str, made: dict[str, str]) -> None:
    """`python -m scripts.reference` makes it again."""
    assert REFERENCE[name] == made[name]


def test_every_code_is_in_the_reference() -> None:
    from creto.common.codes import CODES

    assert [code for code in CODES if f"`{code}`" not in REFERENCE["errors.md"]] == []


def test_every_key_is_in_the_reference() -> None:
    from creto.common import settings  # noqa: F401 - declares the sections
    from creto.common.config import declared

    assert [f.key for f in declared() if f"`{f.key}`" not in REFERENCE["configuration.md"]] == []


def test_what_pages_configure_is_read() -> None:
    """given a key that a page sets / then the reference does not say that nothing reads it."""
    rows = dict(re.findall(r"^\| `([\w.]+)` \|(.*)$", REFERENCE["configuration.md"], re.MULTILINE))
    sections = {key.partition(".")[0] for key in rows}
    texts = [(page, block.text) for page in PAGES for block in blocks(page) if block.language == "toml"]
    shown = [(page, f"{table}.{key}") for page, text in texts for table, values in tomllib.loads(text).items() if table in sections and isinstance(values, dict) for key in values]  # fmt: skip
    assert len(shown) > 10
    assert [(page.name, key) for page, key in shown if reference.UNREAD in rows[key]] == []


def test_every_endpoint_is_in_the_reference() -> None:
    from creto.edge.api import ENDPOINTS

    missing = [
        e.name
        for e in ENDPOINTS
        if f"### {e.name}\n" not in REFERENCE["endpoints.md"]
        or f"(endpoints.md#{reference.anchor(e.name)})" not in REFERENCE["grpc.md"]
    ]
    assert missing == []


def test_every_limit_has_a_reason() -> None:
    rows = [line.split(" | ") for line in REFERENCE["limits.md"].splitlines() if line.startswith("| `")]
    assert rows
    assert [row[0] for row in rows if not row[2].strip(" |")] == []


def test_every_command_is_in_the_reference() -> None:
    from creto.cli.root import COMMANDS

    assert [name for name in COMMANDS if f"\n## creto {name}\n" not in REFERENCE["cli.md"]] == []


def test_prose_names_codes_keys_and_commands_that_exist() -> None:
    from creto.cli.root import COMMANDS
    from creto.common.codes import CODES

    wrong = []
    for page in PAGES:
        text = page.read_text()
        wrong += [
            f"{page.name}: {code}" for code in re.findall(r"`((?:PL|RT|MT|OV|MS)-\d{3})`", text) if code not in CODES
        ]
        called = re.findall(r"`creto ((?!--)[a-z-]+)[ `]", text)
        wrong += [f"{page.name}: creto {word}" for word in called if word not in COMMANDS]
    assert wrong == []


def test_toml_in_the_pages_is_a_valid_configuration(tmp_path: Path) -> None:
    from creto.common import settings  # noqa: F401 - declares the sections
    from creto.common.config import load

    names = (
        "DB_PASSWORD",
        "NATS_TOKEN",
        "SLACK_BOT_TOKEN",
        "SLACK_SIGNING_SECRET",
        "SMTP_PASSWORD",
        "NAME",
        "STRIPE_API_KEY",
        "STRIPE_WEBHOOK_SECRET",
    )
    env = {"REDIS_URL": "redis://127.0.0.1", **dict.fromkeys(names, "x")}
    found = [b for page in PAGES for b in blocks(page) if b.language == "toml" and not b.mark]
    assert found
    for block in found:
        file = tmp_path / "creto.toml"
        file.write_text(block.text)
        load([file], env=env, defaults=())


def test_oversight_policies_in_the_pages_are_valid(tmp_path: Path) -> None:
    found = [b for page in PAGES for b in blocks(page) if b.mark == "oversight policy"]
    assert found
    with Creto.local(tmp_path / "creto.db") as creto:
        for block in found:
            policy = policy_of(block.text.encode())
            creto.approvals.put_policy(**{name: getattr(policy, name) for name in policy.__struct_fields__})


def test_python_in_the_pages_is_python() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                body = "".join(f"    {line}\n" for line in block.text.splitlines())
                compile(f"async def example():\n{body}", str(page), "exec", dont_inherit=True)


def test_every_metric_is_documented(tmp_path: Path) -> None:
    from creto.app import running
    from creto.edge.gathering import merged
    from creto.edge.measures import Measures
    from creto.sdk.local import beside

    async def names() -> tuple[str, ...]:
        async with running(beside(tmp_path / "creto.db")) as app:
            Measures(app.parts)
            return (*app.parts.metrics.names(), *re.findall(r"^# TYPE (\S+)", merged((), {}), re.MULTILINE))

    page = (DOCS / "operations" / "monitoring.md").read_text()
    told = set(re.findall(r"^\| `([a-z_]+)` \| ", page.partition("<!-- metrics -->")[2], re.MULTILINE))
    assert told == set(asyncio.run(names()))


def test_every_degraded_mode_has_its_metric_its_log_line_and_its_test() -> None:
    page = (DOCS / "concepts" / "degraded-modes.md").read_text().partition("<!-- shown -->")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ][1:]
    assert len(rows) >= 8
    source = "".join(p.read_text() for p in (ROOT / "src").rglob("*.py"))
    tests = "".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    wrong = []
    for _, _, metrics, said, shown in rows:
        wrong += [name for name in re.findall(r"`(\w+)`", metrics) if f'"{name}"' not in source]
        line = re.sub(r"witness NAME|redis|object store", "%s", said.strip("`")).replace("is open", "is %s")
        wrong += [said] if said != "–" and line not in source else []
        wrong += [name for name in re.findall(r"`(\w+)`", shown) if f"def {name}(" not in tests]
    assert wrong == []


def test_prose_is_plain() -> None:
    """No word that sells, no promise without a date."""
    selling = re.compile(r"\b(blazing|seamless|powerful|cutting-edge|world-class|revolutionary|leverage|robust|TODO|coming soon)\b", re.IGNORECASE)  # fmt: skip
    found = [f"{p.name}: {m[0]}" for p in PAGES for m in selling.finditer(prose(p)) if p.name != "AGENTS.md"]
    assert found == []


def test_the_proto_in_the_reference_has_every_message_once() -> None:
    messages = re.findall(r"^message (\w+) \{", REFERENCE["grpc.md"], re.MULTILINE)
    assert messages
    assert len(messages) == len(set(messages))


def test_the_grpc_contract_compiles(tmp_path: Path) -> None:
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    from creto.edge.api import ENDPOINTS
    from creto.edge.grpc.schema import Schema

    out = tmp_path / "contract.bin"
    assert protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"--descriptor_set_out={out}", "creto/v1/creto.proto"]) == 0
    (written,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    served = Schema(ENDPOINTS).file
    for compiled, ours in ((written.service, served.service), (written.message_type, served.message_type)):
        assert [thing.name for thing in compiled] == [thing.name for thing in ours]
    for message, ours in zip(written.message_type, served.message_type, strict=True):
        fields = [[(f.name, f.number, f.type, f.label, f.proto3_optional) for f in m.field] for m in (message, ours)]
        assert fields[0] == fields[1], message.name
