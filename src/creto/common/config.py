"""Configuration: defaults ← TOML files ← environment, typed, and every value knows where it came from.

    config = load(files=("creto.toml",))
    config[StoreConfig].url                  # 'sqlite:///creto.db'
    config.origin("store.url")               # 'file creto.toml:3', 'env CRETO_STORE__URL' or 'default'

A part declares its keys as a section in its own file; those of the foundation stand in `common.settings`:

    @section("metering")
    class QuotaConfig(msgspec.Struct, frozen=True):
        lease_seconds: Annotated[int, Meta(ge=1), LIVE] = 5

INVARIANT: a key is declared once; an unknown key is refused with the nearest name; a secret is never shown.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import signal
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeVar, get_args, get_origin, runtime_checkable

import msgspec

from creto.common import wire
from creto.common.errors import AlreadyExists, EnablementError, InvalidInput
from creto.common.limits import CONFIG_FILE_BYTES_MAX
from creto.common.redact import MASK, redacted

S = TypeVar("S", bound=msgspec.Struct)
C = TypeVar("C", bound=type[msgspec.Struct])

ENV_PREFIX: Final = "CRETO_"
DEFAULT_FILES: Final = ("/etc/creto/enablement.toml", "creto.toml")
LIVE: Final = msgspec.Meta(extra={"live": True})  # marks a field that may change while the process runs


@runtime_checkable
class EnablementConfig(Protocol):
    """A section that has rules beyond the types of its fields; raises InvalidInput."""

    def validate(self) -> None: ...


class Secret:
    """A value that is never shown; `reveal()` is the one way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__


class Field(msgspec.Struct, frozen=True):
    """One declared key."""

    key: str
    owner: type[msgspec.Struct]
    name: str
    type: Any
    default: Any
    live: bool
    secret: bool


class Setting(msgspec.Struct, frozen=True):
    """One key as `config show` prints it: a secret is masked already."""

    key: str
    value: Any
    origin: str
    live: bool


class Raw(msgspec.Struct, frozen=True):
    """A value before it has a type."""

    value: Any
    origin: str
    textual: bool  # it came as text, so "8081" may stand for a number


_fields: dict[str, Field] = {}


def section(name: str) -> Callable[[C], C]:
    """Declare a section. Several structs may share a section's name as long as their keys differ."""

    def declare(cls: C) -> C:
        for info in msgspec.structs.fields(cls):
            key = f"{name}.{info.name}"
            if key in _fields and qualified(_fields[key].owner) != qualified(cls):
                raise AlreadyExists("PL-409", f"the configuration key {key} is declared twice")
            _fields[key] = Field(
                key, cls, info.name, info.type, default_of(info), is_live(info.type), is_secret(info.type)
            )
        return cls

    return declare


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def default_of(info: msgspec.structs.FieldInfo) -> Any:
    if info.default is not msgspec.NODEFAULT:
        return info.default
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    raise TypeError(f"the configuration field {info.name} needs a default")


def is_live(type_: Any) -> bool:
    metas = getattr(type_, "__metadata__", ())
    return any(isinstance(m, msgspec.Meta) and (m.extra or {}).get("live") for m in metas)


def is_secret(type_: Any) -> bool:
    return type_ is Secret or any(is_secret(inner) for inner in get_args(type_))


def declared() -> tuple[Field, ...]:
    """Every key that any loaded part has declared, sorted."""
    return tuple(_fields[key] for key in sorted(_fields))


class Config:
    """What holds now. Immutable: a reload makes a new one."""

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._origins = dict(origins)
        self._sections: dict[type[msgspec.Struct], msgspec.Struct] = {}
        for owner in {field.owner for field in declared()}:
            self._sections[owner] = build(owner, self._values, self._origins)

    def __getitem__(self, cls: type[S]) -> S:
        found = self._sections[cls]
        assert isinstance(found, cls)
        return found

    def get(self, key: str) -> Any:
        return self._values[known(key, "the key asked for").key]

    def origin(self, key: str) -> str:
        """Where the value came from: `default`, `file PATH:LINE` or `env NAME`."""
        return self._origins.get(known(key, "the key asked for").key, "default")

    def settings(self) -> Iterator[Setting]:
        """Every key with its value and origin, safe to print."""
        for field in declared():
            value = self._values[field.key]
            shown = (MASK if value is not None else None) if field.secret else redacted(plain(value))
            yield Setting(field.key, shown, self.origin(field.key), field.live)

    def changed(self, other: Config) -> frozenset[str]:
        return frozenset(f.key for f in declared() if self._values[f.key] != other._values[f.key])

    def with_values_of(self, other: Config, keys: frozenset[str]) -> Config:
        """This configuration with some keys as the other has them."""
        values = {**self._values, **{k: other._values[k] for k in keys}}
        origins = {**self._origins, **{k: other.origin(k) for k in keys}}
        return Config(values, origins)


def plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)


def build(owner: type[msgspec.Struct], values: Mapping[str, Any], origins: Mapping[str, str]) -> msgspec.Struct:
    mine = [field for field in declared() if field.owner is owner]
    made = owner(**{field.name: values[field.key] for field in mine})
    if isinstance(made, EnablementConfig):
        try:
            made.validate()
        except InvalidInput as error:
            given = [f"{f.key} from {origins[f.key]}" for f in mine if f.key in origins]
            raise error.with_context("reading " + (", ".join(given) or "the defaults")) from error
    return made


def known(key: str, origin: str) -> Field:
    """The declared key, or the error that names the nearest one."""
    field = _fields.get(key)
    if field is not None:
        return field
    near = difflib.get_close_matches(key, _fields, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else "`creto config show` lists every key."
    raise InvalidInput(
        "PL-920",
        f"{origin}: unknown key {key}. {hint}",
        field=key,
        got=key,
        expected=near[0] if near else None,
        hint=hint,
    )


def load(
    files: Sequence[str | Path] = (),
    *,
    env: Mapping[str, str] | None = None,
    defaults: Sequence[str | Path] = DEFAULT_FILES,
) -> Config:
    """The `defaults` may be missing, the `files` (from --config) may not; later ones win, the environment last."""
    environment = os.environ if env is None else env
    raw: dict[str, Raw] = {}
    for path in defaults:
        if Path(path).is_file():
            raw.update(read_file(Path(path), environment))
    for path in files:
        raw.update(read_file(Path(path), environment))
    raw.update(read_env(environment))
    values = {field.key: field.default for field in declared()}
    for key, given in raw.items():
        values[key] = typed(_fields[key], given)
    return Config(values, {key: given.origin for key, given in raw.items()})


def typed(field: Field, raw: Raw) -> Any:
    try:
        return msgspec.convert(from_text(field, raw), field.type, strict=not raw.textual, dec_hook=decode_secret)
    except msgspec.ValidationError as error:
        misfit = wire.misfit(error, "PL-921", field.key, type=field.type)
        got = MASK if field.secret else redacted(raw.value)
        expected = (misfit.expected or "another value").replace("`", "")
        message = f"{field.key}: expected {expected}, got {got!r} ({raw.origin})"
        raise InvalidInput("PL-921", message, field=field.key, got=got, expected=expected) from error


def from_text(field: Field, raw: Raw) -> Any:
    """The environment knows only text: a list is separated by commas, or written as JSON where it holds tables."""
    text = raw.value
    if not raw.textual or not isinstance(text, str):
        return text
    kinds = {get_origin(field.type) or field.type, *(get_origin(a) or a for a in get_args(field.type))}
    if get_origin(field.type) is Annotated:
        kinds |= {get_origin(a) or a for a in get_args(get_args(field.type)[0])}
    if not kinds & {tuple, list}:
        return None if text == "" and type(None) in kinds else text
    if text.startswith("["):
        return wire.decode(text, list[Any], code="PL-921", what=field.key)
    return [part.strip() for part in text.split(",") if part.strip()]


def decode_secret(type_: type, value: Any) -> Any:
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")


# --- files ----------------------------------------------------------------------------------------------------------


def read_file(path: Path, env: Mapping[str, str]) -> dict[str, Raw]:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_FILE_BYTES_MAX + 1)
        if len(data) > CONFIG_FILE_BYTES_MAX:
            raise InvalidInput.of(
                str(path), got="a larger file", expected=f"at most {CONFIG_FILE_BYTES_MAX} bytes", code="PL-921"
            )
        text = data.decode()
        tables = tomllib.loads(text)
    except OSError as error:
        message = f"the configuration file {path} cannot be read: {error.strerror}"
        raise InvalidInput("PL-921", message, field=str(path)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        message = f"the configuration file {path} is not TOML: {error}"
        raise InvalidInput("PL-921", message, field=str(path)) from error
    lines = line_numbers(text)
    raw: dict[str, Raw] = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or not any(key.startswith(f"{name}.") for key in _fields):
            known(name, f"file {path}:{lines.get(name, 1)}")
        for key, value in table.items():
            full = f"{name}.{key}"
            origin = f"file {path}:{lines.get(full, lines.get(name, 1))}"
            known(full, origin)
            filled = interpolated(value, env, full, origin)
            raw[full] = Raw(filled, origin, textual=filled != value)
    return raw


VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)\}")


def interpolated(value: Any, env: Mapping[str, str], key: str, origin: str) -> Any:
    """`${VAR}` from the environment; `$${VAR}` stays as `${VAR}`."""
    if isinstance(value, list):
        return [interpolated(item, env, key, origin) for item in value]
    if isinstance(value, dict):
        return {name: interpolated(item, env, key, origin) for name, item in value.items()}
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        if name not in env:
            message = f"{key}: the environment variable {name} is not set ({origin})"
            raise InvalidInput("PL-921", message, field=key, got=match[0], expected=f"{name} in the environment")
        return env[name]

    return VARIABLE.sub(replace, value)


HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.\-\" ]+?)\s*\]\]?\s*(?:#.*)?")
ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9_.\-\"]+(?:\s*\.\s*[A-Za-z0-9_\-\"]+)*)\s*=")


def line_numbers(text: str) -> dict[str, int]:
    """The line on which each dotted key first stands; tomllib does not tell."""
    lines: dict[str, int] = {}
    header = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := HEADER.fullmatch(line):
            header = match[1].replace('"', "").replace(" ", "")
            lines.setdefault(header, number)
        elif match := ASSIGNMENT.match(line):
            name = match[1].replace('"', "").replace(" ", "")
            lines.setdefault(f"{header}.{name}" if header else name, number)
    return lines


# --- environment ----------------------------------------------------------------------------------------------------


def read_env(env: Mapping[str, str]) -> dict[str, Raw]:
    """`CRETO_SECTION__KEY`; a name without two underscores is no setting and is left alone."""
    raw: dict[str, Raw] = {}
    for name in sorted(env):
        section_name, separator, key = name.removeprefix(ENV_PREFIX).partition("__")
        if name.startswith(ENV_PREFIX) and separator:
            full = f"{section_name}.{key}".lower()
            origin = f"env {name}"
            raw[known(full, origin).key] = Raw(env[name], origin, textual=True)
    return raw


# --- reload ---------------------------------------------------------------------------------------------------------


class Reload(msgspec.Struct, frozen=True):
    """What a reload did: keys that hold now, keys that wait for a restart, or the reason why nothing changed."""

    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    refused: EnablementError | None = None


class Reloader:
    """Reads the configuration again, on SIGHUP as a rule, and applies what may change live.

    INVARIANT: a reload that fails, in the files or in one of those that follow it, leaves everything as it was.
    """

    def __init__(self, current: Config, read: Callable[[], Config], report: Callable[[Reload], None]) -> None:
        self.current = current
        self._read = read
        self._report = report
        self._followers: list[Callable[[Config], None]] = []

    def on_change(self, follow: Callable[[Config], None]) -> None:
        """Call `follow(config)` at each reload: a file that it names may have changed while its name did not.

        It may refuse by raising an EnablementError, as long as it has changed nothing.
        """
        self._followers.append(follow)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reload on SIGHUP for as long as the loop runs."""
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    def reload(self) -> Reload:
        result = self._try()
        self._report(result)
        return result

    def _try(self) -> Reload:
        try:
            fresh = self._read()
            changed = self.current.changed(fresh)
            live = frozenset(key for key in changed if _fields[key].live)
            target = self.current.with_values_of(fresh, live)
            self._apply(target)
        except EnablementError as error:
            return Reload(refused=error)
        self.current = target
        return Reload(tuple(sorted(live)), tuple(sorted(changed - live)))

    def _apply(self, target: Config) -> None:
        done: list[Callable[[Config], None]] = []
        try:
            for follow in self._followers:
                follow(target)
                done.append(follow)
        except BaseException:
            for follow in reversed(done):
                follow(self.current)
            raise
