"""gRPC on port 8080: each part of `edge.api` is a service, its endpoints are the methods, messages are made from the same structs.

    server = GrpcServer(dispatcher, authenticator, ENDPOINTS)
    await server.start("127.0.0.1:8080")

`proto/creto/v1/*.proto` is the written contract: generated from the table by `scripts/protos.py`, held equal to it by a test.
"""

from creto.edge.grpc.schema import Schema
from creto.edge.grpc.server import GrpcServer

__all__ = ["GrpcServer", "Schema"]
