"""The health check, and the check of whether requests can be served."""

from functools import partial
from http import HTTPStatus

from flask import Response

from app.api.context import Services, services
from app.framework.faults import RETRY_AFTER
from app.framework.responses import DeferredResponse, JSONResponse, UncachedResponse


def check_health() -> Response:
    """Return that this process responds. Nothing that this depends on can fail."""
    return UncachedResponse({"status": "alive"})


def check_readiness() -> Response:
    """Return the state of each part of the service that requests need, once all of them are checked."""
    return DeferredResponse(partial(_readiness, services()))


async def _readiness(service: Services) -> JSONResponse:
    checks = await service.readiness.check()
    is_ready = all(each["status"] in {"ok", "warning"} for each in checks.values())
    response = UncachedResponse({"status": "ready" if is_ready else "unavailable", "checks": checks})
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = RETRY_AFTER
    return response
