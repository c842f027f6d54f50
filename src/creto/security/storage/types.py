"""What storage takes and gives."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import ConsensusTimestamp


class Segment(msgspec.Struct, frozen=True):
    """One sealed blob of an object: where it is, how much plaintext it holds, the Merkle root of its sealed chunks."""

    blob: str
    size: int
    root: bytes


class ObjectInfo(msgspec.Struct, frozen=True):
    """An object as a listing shows it."""

    tenant: TenantId
    key: str
    version: str  # new with every put; what `if_match` compares
    size: int
    digest: bytes  # tagged digest of the list of segments, whose roots bind every sealed byte; the ledger holds it too
    created_at: ConsensusTimestamp
    created_by: AgentId
    retain_until: ConsensusTimestamp | None = None
    legal_hold: bool = False

    @property
    def etag(self) -> str:
        return f'"{self.version}"'


class ObjectStat(ObjectInfo, frozen=True, kw_only=True):
    """An object as `stat` shows it: with what is sealed beside it."""

    content_type: str
    metadata: dict[str, str]
    segments: tuple[Segment, ...]


class ObjectPage(msgspec.Struct, frozen=True):
    items: tuple[ObjectInfo, ...]
    cursor: str | None = None  # pass it on for the next page; None on the last


class Upload(msgspec.Struct, frozen=True):
    """A multipart upload that is open. Its id becomes the version of the object."""

    tenant: TenantId
    upload: str
    key: str
    created_at: ConsensusTimestamp
    created_by: AgentId


class UploadPage(msgspec.Struct, frozen=True):
    items: tuple[Upload, ...]
    cursor: str | None = None


class Part(msgspec.Struct, frozen=True):
    number: int
    size: int
    root: bytes  # Merkle root of its sealed chunks: compare it when resuming


class Swept(msgspec.Struct, frozen=True):
    """What a sweep removed."""

    uploads: int
    blobs: int


class Attributes(msgspec.Struct, frozen=True):
    """What a caller says about an object beside its bytes."""

    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = {}
    retain_until: ConsensusTimestamp | None = None
