"""The console: pages made on the server, for people. Signing in here, the layer at a glance; products add their pages.

    routes = console_routes(dispatcher, authenticator)     # go beside the REST routes

GET never changes anything: the one-time link shows a button, the button signs in.
INVARIANT: no inline script or style, no asset of anybody else; the session cookie is HttpOnly and SameSite=Strict.
"""

from creto.edge.console.pages import console_routes

__all__ = ["console_routes"]
