"""The OpenAPI document and Swagger UI."""

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contract.document import Contract
from app.resources import resource_path

# These headers keep browsers from loading anything from other sites, showing the pages in frames of other sites, and
# sending the URLs of the pages to other sites.
_SECURITY_HEADERS = {
    # Swagger UI sets inline styles, and its style sheet contains images.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SwaggerUIMiddleware:
    """Serves the contract at /openapi.yaml and /openapi.json, from bytes that are built at the start, and Swagger UI.

    Connexion would resolve all references for each request, and the schemas would lose their names
    (spec-first/connexion #2127). It also expects the scripts of Swagger UI and its page in one folder; here they are in
    two.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract) -> None:
        self._next_app = next_app
        self._contract = contract
        self._pages: dict[str, ASGIApp] = {
            "/openapi.yaml": Response(contract.yaml, media_type="application/yaml"),
            "/openapi.json": Response(contract.json, media_type="application/json"),
            "/ui": RedirectResponse("ui/"),  # relative, because a proxy may add a prefix to the path
            "/ui/": Response(resource_path("ui/index.html").read_bytes(), media_type="text/html"),
        }
        self._ui: ASGIApp = StaticFiles(packages=[("app", "ui"), ("flask_swagger_ui", "dist")])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page, or pass the request on."""
        app, path = self._next_app, scope["path"] if scope["type"] == "http" else ""
        if path in self._pages:
            app = self._pages[path]
        elif path.startswith("/ui/") and not self._contract.methods(path):  # a project may have the id "ui"
            app, scope = self._ui, {**scope, "root_path": "/ui"}
        if app is self._next_app:
            await app(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD, OPTIONS"})
        await app(scope, receive, _with_security_headers(send))


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_SECURITY_HEADERS)
        await send(message)

    return send_with_headers
