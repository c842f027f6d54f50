"""The key-encryption key: 32 bytes from outside the database, named by a URI.

    KekSource.parse("file:/etc/creto/kek").load()               # a file that only its owner can read
    KekSource.parse("env:CRETO_KEK").load()                     # 64 hex digits
    KekSource.parse("command:/usr/bin/vault-read kek").load()   # a program's standard output; no shell is involved

The value is 64 hex digits; a file or program may also give 32 raw bytes. Every failure is PL-215 and says nothing of the value.

INVARIANT: the key's bytes appear in no repr, log or error.
"""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NoReturn

from creto.common.errors import CryptoError
from creto.common.limits import KEK_BYTES_MAX, KEK_COMMAND_TIMEOUT_S
from creto.platform.crypto.aead import KEY_BYTES, open_sealed, seal
from creto.platform.crypto.hashes import hkdf, random_bytes
from creto.platform.crypto.types import AeadSuite


class Kek:
    """Seals and opens keys. Two Keks with one id hold the same bytes."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise cannot_open(f"it has {len(key)} bytes; 32 are needed")
        self._key = hkdf(key, info=b"creto/kek/v1/seal")
        self.id = hkdf(key, info=b"creto/kek/v1/id", size_bytes=8).hex()

    @staticmethod
    def generate() -> Kek:
        """One that is written nowhere: for tests and for stores that need not outlive the process."""
        return Kek(random_bytes(KEY_BYTES))

    def seal(self, secret: bytes, aad: bytes, suite: AeadSuite = AeadSuite.AES_256_GCM) -> bytes:
        return seal(self._key, secret, aad, suite)

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        return open_sealed(self._key, sealed, aad)

    def __repr__(self) -> str:
        return f"Kek({self.id})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key-encryption key is not pickled")


class KekSource(ABC):
    """Where the key comes from; `parse` picks the kind by the URI's scheme."""

    @staticmethod
    def parse(uri: str) -> KekSource:
        scheme, _, rest = uri.partition(":")
        if scheme not in SCHEMES or not rest:
            raise cannot_open(f"its source must be one of {', '.join(f'{name}:…' for name in SCHEMES)}")
        return SCHEMES[scheme](rest)

    @abstractmethod
    def read(self) -> bytes:
        """The value as it was found."""

    def load(self) -> Kek:
        """Blocks on the file or the program: call it while starting, not on a loop."""
        return Kek(decoded(self.read()))


class FileKek(KekSource):
    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                # The mode of the open file, not of the path: nothing can be swapped in between.
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise cannot_open(f"{self.path} is not a regular file")
                if status.st_mode & 0o077:
                    raise cannot_open(f"{self.path} can be read by others: chmod 600 it")
                if status.st_uid not in (os.geteuid(), 0):
                    raise cannot_open(f"{self.path} belongs to another user")
                return file.read(KEK_BYTES_MAX + 1)
        except OSError as error:
            raise cannot_open(f"{self.path}: {error.strerror}") from error


class EnvKek(KekSource):
    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> bytes:
        value = os.environ.get(self.name)
        if value is None:
            raise cannot_open(f"the environment has no {self.name}")
        return value.encode(errors="surrogateescape")


class CommandKek(KekSource):
    """Runs a program directly, with this process's environment and no input."""

    def __init__(self, command: str, timeout_s: float = KEK_COMMAND_TIMEOUT_S) -> None:
        try:
            self.argv = shlex.split(command)
        except ValueError as error:
            raise cannot_open("the command's quotes do not match") from error
        if not self.argv:
            raise cannot_open("the command is empty")
        self.timeout_s = timeout_s

    def read(self) -> bytes:
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own configuration, without a shell
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise cannot_open(f"{self.argv[0]}: {error.strerror}") from error
        try:
            value, _ = process.communicate(timeout=self.timeout_s)
        except subprocess.TimeoutExpired as error:
            raise cannot_open(f"{self.argv[0]} took longer than {self.timeout_s:g} s") from error
        finally:
            end(process)
        if process.returncode:
            raise cannot_open(f"{self.argv[0]} ended with {process.returncode}")
        return value


SCHEMES: dict[str, type[FileKek] | type[EnvKek] | type[CommandKek]] = {
    "file": FileKek,
    "env": EnvKek,
    "command": CommandKek,
}


def end(process: subprocess.Popen[bytes]) -> None:
    """The program and what it started: a grandchild that holds the pipe would hold us too."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def decoded(value: bytes) -> bytes:
    if len(value) == KEY_BYTES:
        return value
    text = value.strip()
    try:
        if len(text) == 2 * KEY_BYTES:
            return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        pass
    raise cannot_open("it is not 64 hex digits or 32 bytes")


def cannot_open(why: str) -> CryptoError:
    """`why` names a source or a shape, never a value."""
    return CryptoError("PL-215", f"the key-encryption key cannot be used: {why}")
