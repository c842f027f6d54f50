"""The console: pages made on the server, for people. Signing in here, the layer at a glance; products add their pages.

    live = Live(store)
    routes = console_routes(dispatcher, authenticator, live)     # go beside the REST routes

`pages` is home and signing in, `signing` that with a passkey, `approvals` the inbox and one request, `passkeys` one's own keys. `site` is what pages share, `cards` what is
shown, `forms` what is said, `acts` what is done about it, `live` what changes meanwhile.

`static/htmx.min.js` is htmx 2.0.11 as its npm package has it, under the Zero-Clause BSD licence beside it.

GET never changes anything: the one-time link shows a button, the button signs in.
INVARIANT: no inline script or style, no asset of anybody else; the session cookie is HttpOnly and SameSite=Strict.
INVARIANT: every act works as a plain form; scripts only make it quicker. A passkey alone needs one.
"""

from creto.edge.console.live import Live
from creto.edge.console.pages import console_routes

__all__ = ["Live", "console_routes"]
