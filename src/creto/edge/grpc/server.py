"""The server: generic handlers over the table, with health, reflection, deadlines and the caller's certificate.

An error is a status with the unified error in the trailer `creto-error-bin` (JSON), so that a client raises what the server raised.
INVARIANT: this loop carries gRPC alone; on a busy HTTP loop it starves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from creto.common.codes import row
from creto.common.errors import ConnectionFailed, EnablementError, InternalError, InvalidInput, Timeout
from creto.common.limits import BODY_BYTES_MAX, DEADLINE_S_DEFAULT
from creto.common.telemetry import extract, span
from creto.edge.api.authentication import Authenticator
from creto.edge.api.dispatch import Dispatcher
from creto.edge.api.endpoint import Endpoint
from creto.edge.grpc.convert import to_message, to_struct
from creto.edge.grpc.schema import PACKAGE, Schema, method_name, service_name

log = logging.getLogger(__name__)
ERROR_TRAILER = "creto-error-bin"
METADATA_BYTES_MAX = 512 * 1024  # a delegation chain of 16 links travels as metadata
STATUSES = {status.value[0]: status for status in grpc.StatusCode}
Unary = Callable[[bytes, Any], Awaitable[bytes]]


class GrpcServer:
    def __init__(
        self,
        dispatcher: Dispatcher,
        authenticator: Authenticator,
        endpoints: Sequence[Endpoint[..., Any]],
        *,
        shared: bool = False,
    ) -> None:
        self._dispatcher = dispatcher
        self._authenticator = authenticator
        self.schema = Schema(endpoints)
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", BODY_BYTES_MAX),
                ("grpc.max_send_message_length", BODY_BYTES_MAX),
                ("grpc.max_metadata_size", METADATA_BYTES_MAX),
                ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
                ("grpc.so_reuseport", int(shared)),
            ]
        )
        by_service: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for endpoint in endpoints:
            handler = grpc.unary_unary_rpc_method_handler(self._unary(endpoint))
            by_service.setdefault(service_name(endpoint), {})[method_name(endpoint)] = handler
        for name, handlers in by_service.items():
            generic = grpc.method_handlers_generic_handler(f"{PACKAGE}.{name}", handlers)
            self._server.add_generic_rpc_handlers((generic,))
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        names = (*self.schema.services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, self.schema.pool)

    async def start(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen, and answer from now on; the port that was taken."""
        try:
            port = (
                self._server.add_secure_port(address, credentials)
                if credentials
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise ConnectionFailed(
                "PL-503",
                f"gRPC cannot listen on {address}",
                hint="Stop what holds it, or set server.grpc_port; with TLS, look at the certificate and the key.",
            ) from error
        await self._server.start()
        for service in ("", *self.schema.services):
            await self.health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Say that we leave, finish what was accepted, then go."""
        await self.health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    def _unary(self, endpoint: Endpoint[..., Any]) -> Unary:
        message_class = self.schema.message_class(endpoint.request_type)

        async def answer(data: bytes, context: Any) -> bytes:
            metadata = headers_of(context)
            with span(endpoint.name, parent=extract(metadata)) as here:
                try:
                    async with asyncio.timeout(time_left(context)):
                        await self._authenticator.prefetch(metadata)
                        call = self._authenticator.call(metadata, certificate_of(context), peer=peer_of(context))
                        asked = to_struct(parsed(message_class, data), endpoint.request_type)
                        result = await self._dispatcher(endpoint, call, asked)
                        data_out: bytes = to_message(result, self.schema).SerializeToString()
                        return data_out
                except EnablementError as error:
                    refused = error
                except TimeoutError:
                    refused = Timeout("PL-504", f"{endpoint.name}: no answer before the deadline")
                except Exception:
                    log.exception("%s failed", endpoint.name)
                    refused = InternalError("PL-500")
                refused.trace_id = refused.trace_id or here.context.trace_id
                await abort(context, refused)
                raise AssertionError("abort raises")

        return answer


def parsed(message_class: Any, data: bytes) -> Any:
    try:
        return message_class.FromString(data)
    except Exception as error:
        raise InvalidInput.of(
            "request", got=f"{len(data)} bytes", expected=message_class.DESCRIPTOR.full_name
        ) from error


async def abort(context: Any, error: EnablementError) -> None:
    trailer = (ERROR_TRAILER, msgspec.json.encode(error.body()))
    await context.abort(STATUSES[row(error.code).grpc], f"{error.code} {error.message}", (trailer,))


def headers_of(context: Any) -> Mapping[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def certificate_of(context: Any) -> bytes | None:
    """The client's certificate, where mutual TLS asked for one."""
    pem = context.auth_context().get("x509_pem_cert")
    return bytes(pem[0]) if pem else None


def peer_of(context: Any) -> str:
    """The address without its port, which is another with every connection: ipv4:10.0.0.7:51812."""
    return str(context.peer()).rpartition(":")[0]


def time_left(context: Any) -> float:
    remaining = context.time_remaining()
    return DEADLINE_S_DEFAULT if remaining is None else max(0.0, min(float(remaining), DEADLINE_S_DEFAULT))


def tls(certificate: bytes, key: bytes, client_authority: bytes | None) -> grpc.ServerCredentials:
    """TLS; mutual where an authority for clients is given."""
    return grpc.ssl_server_credentials(
        [(key, certificate)], client_authority, require_client_auth=client_authority is not None
    )
