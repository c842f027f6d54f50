"""The rim: REST, gRPC, health and metrics over one table of endpoints.

    from creto.edge.api import ENDPOINTS

    for endpoint in ENDPOINTS:
        print(endpoint.method, endpoint.path, endpoint.summary)

`api/` says what can be asked; `rest/` and `grpc/` carry it; `sdk` asks it. No rule lives here.
"""
