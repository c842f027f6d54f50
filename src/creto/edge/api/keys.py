"""The keys that wrap what a tenant keeps, put in use anew over the wire: contents stay as they are, their keys are wrapped again."""

from __future__ import annotations

from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.parts import Parts
from creto.gate import Effect


class RotateKey(Ask, frozen=True):
    """With `resume` no fresh key: what an older one still wraps is wrapped again, after a rotation that was interrupted."""

    resume: bool = False


class KeyRotated(View, frozen=True):
    """How many keys were wrapped again."""

    wrapped: int


ACTION = "keys:write"
MEMORY = Endpoint("memory.rotate_key", "POST", "/v1/keys/memory/rotate", RotateKey, KeyRotated, ACTION, "Put a fresh memory key in use", errors=("PL-215", "PL-801"), about="key:memory", effect=Effect.OUTSIDE)  # fmt: skip
STORAGE = Endpoint("objects.rotate_key", "POST", "/v1/keys/storage/rotate", RotateKey, KeyRotated, ACTION, "Put a fresh storage key in use", errors=("PL-215", "PL-801"), about="key:storage", effect=Effect.OUTSIDE)  # fmt: skip

ENDPOINTS = (MEMORY, STORAGE)


@handles(MEMORY)
async def rotate_memory(parts: Parts, call: Call, ask: RotateKey) -> KeyRotated:
    rotate = parts.memory.rewrap if ask.resume else parts.memory.rotate_key
    return KeyRotated(wrapped=await rotate(call.tenant))


@handles(STORAGE)
async def rotate_storage(parts: Parts, call: Call, ask: RotateKey) -> KeyRotated:
    rotate = parts.storage.rewrap if ask.resume else parts.storage.rotate_key
    return KeyRotated(wrapped=await rotate(call.tenant, agent=call.known.agent))
