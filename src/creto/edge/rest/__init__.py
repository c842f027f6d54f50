"""REST on port 8081 under `/v1`: each endpoint of `edge.api` is a route, and the OpenAPI document is made from the same table.

app = rest_app(api)               # an ASGI application
document = openapi(ENDPOINTS)    # what /openapi.json answers
"""

from creto.edge.rest.app import rest_app
from creto.edge.rest.openapi import openapi

__all__ = ["openapi", "rest_app"]
