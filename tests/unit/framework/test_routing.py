"""Routing: the results for the last paths are remembered."""

import asyncio
from typing import Any

import pytest
from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.resolver import Resolver
from connexion.spec import Specification
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from app.api.operations import resolve_operation
from app.context import RequestContext
from app.framework.routing import StrictRoutingMiddleware
from tests.conftest import loaded

LONG = "x" * 128
UNUSED: Any = None


class Router:
    """Routes requests, and returns their operations and path parameters."""

    def __init__(self) -> None:
        contract = loaded()
        self.middleware = StrictRoutingMiddleware(self._record, contract)
        document = contract.document | {"servers": [{"url": "/"}]}
        self.middleware.add_api(Specification.load(document), resolver=Resolver(resolve_operation))

    def route(self, method: str, path: str) -> tuple[str | int, Any]:
        """Return the id of the operation and the path parameters of a request, or the status of its rejection."""
        scope = {"type": "http", "method": method, "path": path, "state": {"context": RequestContext("req-1")}}
        try:
            asyncio.run(self.middleware(scope, UNUSED, UNUSED))
        except HTTPException as rejection:
            return rejection.status_code, {}
        return self._result

    async def _record(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        self._result = scope["extensions"][ROUTING_CONTEXT]["operation_id"], scope["path_params"]


@pytest.fixture(scope="module")
def router() -> Router:
    return Router()


@pytest.mark.parametrize(
    ("method", "path", "operation", "parameters"),
    [
        ("GET", "/v2/a/images/detail", "listImagesDetails", {"tenant_id": "a"}),
        ("DELETE", "/v2/a/images/detail", 405, {}),
        ("DELETE", "/v2/a/images/1", "deleteImage", {"tenant_id": "a", "image_id": "1"}),
        ("GET", "/v2/b/images/detail", "listImagesDetails", {"tenant_id": "b"}),
        ("GET", "/v2/", "showVersionOfRoot", {}),
        ("GET", f"/v2/{LONG}/images", "listImages", {"tenant_id": LONG}),
        ("GET", "//v2/a/images", 404, {}),
    ],
)
def test_equal_requests_are_routed_equally(
    router: Router, method: str, path: str, operation: str | int, parameters: dict[str, str]
) -> None:
    assert [router.route(method, path) for _ in range(3)] == [(operation, parameters)] * 3


def test_remembered_results_are_bounded() -> None:
    router = Router()
    for number in range(1100):
        router.route("GET", f"/v2/{number}/images")
        router.route("GET", f"/v2/{number}{LONG}/images")
        router.route("GET", f"/v3/{number}/images")
    assert [path for _, path in router.middleware._results] == [f"/v2/{number}/images" for number in range(100, 1100)]
