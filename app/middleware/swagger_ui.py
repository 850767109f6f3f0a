"""The OpenAPI document and Swagger UI."""

from pathlib import Path

from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from app.asgi import request_origin, require_read, set_headers
from app.contract.document import Contract
from app.resources import resource_path
from app.settings import Settings

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
_FILES = StaticFiles(packages=[("app", "ui"), ("flask_swagger_ui", "dist")])


def swagger_ui_paths() -> frozenset[str]:
    """Return the paths of all pages, documents and files."""
    files = (file.name for folder in _FILES.all_directories for file in Path(folder).iterdir())
    return frozenset({"/openapi.yaml", "/openapi.json", "/ui", "/ui/", *(f"/ui/{name}" for name in files)})


class SwaggerUIMiddleware:
    """Serves the contract, at /openapi.yaml and /openapi.json, and Swagger UI.

    The URL of the service in the contract is IMAGES_COMPUTE_URL, or else the origin of the request; because clients can
    choose that, no cache may store the response.

    Connexion would resolve all references for each request, and the schemas would lose their names
    (spec-first/connexion #2127). It also expects the scripts of Swagger UI and its page in one folder; here they are in
    two.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract, settings: Settings) -> None:
        self._next_app = next_app
        self._contract = contract
        self._compute_url = settings.compute_url
        self._documents = {"/openapi.yaml": contract.yaml_at, "/openapi.json": contract.json_at}
        self._pages: dict[str, ASGIApp] = {
            "/ui": RedirectResponse("ui/"),  # relative, because a proxy may add a prefix to the path
            "/ui/": Response(resource_path("ui/index.html").read_bytes(), media_type="text/html"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a page, or pass the request on."""
        app, path = self._next_app, scope["path"] if scope["type"] == "http" else ""
        if path in self._pages:
            app = self._pages[path]
        elif path in self._documents:
            app = self._document(path, scope)
        elif path.startswith("/ui/") and not self._contract.methods(path):  # a project may have the id "ui"
            app, scope = _FILES, {**scope, "root_path": "/ui"}
        if app is self._next_app:
            await app(scope, receive, send)
            return
        require_read(scope)
        await app(scope, receive, set_headers(_SECURITY_HEADERS, send))

    def _document(self, path: str, scope: Scope) -> Response:
        """Build the response with the contract. Raises InvalidHost."""
        text = self._documents[path](self._compute_url or request_origin(scope))
        media_type = f"application/{path.removeprefix('/openapi.')}"
        return Response(text, media_type=media_type, headers={"Cache-Control": "no-store"})
