"""The contract as it is served, and Swagger UI, which shows it."""

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contract.document import Contract
from app.resources import resource_path

# What a browser is told of these pages: to load nothing from elsewhere, to show them in no other site's frame, to take
# nothing for what it is not said to be, and to tell no other site from where it comes.
_SECURITY_HEADERS = {
    # Swagger UI sets styles of its own, and shows images that its stylesheet has in it.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SwaggerUIMiddleware:
    """Serves the contract at /openapi.yaml and /openapi.json, as bytes that were made at the start, and Swagger UI.

    Connexion would serve it with every reference resolved, and so without the names of its schemas (#2127), and would
    resolve it anew for each request; and it takes Swagger UI and its page from one folder, here they are from two.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract) -> None:
        self._next_app = next_app
        self._answers: dict[str, ASGIApp] = {
            "/openapi.yaml": Response(contract.yaml, media_type="application/yaml"),
            "/openapi.json": Response(contract.json, media_type="application/json"),
            "/ui": RedirectResponse("ui/"),  # wherever it is, seen from outside
            "/ui/": Response(resource_path("ui/index.html").read_bytes(), media_type="text/html"),
        }
        self._ui: ASGIApp = StaticFiles(packages=[("app", "ui"), ("flask_swagger_ui", "dist")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for these paths, or pass the request on."""
        app, path = self._next_app, scope["path"] if scope["type"] == "http" else ""
        if path in self._answers:
            app = self._answers[path]
        elif path.startswith("/ui/"):
            app, scope = self._ui, {**scope, "root_path": "/ui"}
        if app is self._next_app:
            await app(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        await app(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_SECURITY_HEADERS)
        await send(message)

    return send_with_headers
