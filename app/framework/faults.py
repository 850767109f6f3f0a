"""Errors become Compute faults."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from connexion.lifecycle import ConnexionRequest, ConnexionResponse
from starlette.exceptions import HTTPException

from app.contract.document import Contract
from app.errors import (
    CatalogBusy,
    CatalogReadOnly,
    CatalogUnavailable,
    DomainError,
    IdentityUnavailable,
    ImageNotFound,
    InvalidBody,
    InvalidHost,
    InvalidParameter,
    InvalidResponse,
    MetadataItemNotFound,
    MetadataQuotaExceeded,
    NotImageOwner,
    ProjectMismatch,
    ReplicaReadOnly,
    RequestBodyTooLarge,
    Unauthorized,
    UnsupportedMediaType,
    UpstreamConflict,
    UpstreamForbidden,
    UpstreamUnavailable,
)
from app.text import quote

_FOR_THE_LOG = (CatalogUnavailable, InvalidResponse)


_STATUS: dict[type[Exception], int] = {
    InvalidParameter: 400,
    InvalidHost: 400,
    InvalidBody: 400,
    Unauthorized: 401,
    ProjectMismatch: 403,
    NotImageOwner: 403,
    MetadataQuotaExceeded: 403,
    CatalogReadOnly: 403,
    ReplicaReadOnly: 403,
    UpstreamForbidden: 403,
    ImageNotFound: 404,
    MetadataItemNotFound: 404,
    UpstreamConflict: 409,
    RequestBodyTooLarge: 413,
    UnsupportedMediaType: 415,
    CatalogBusy: 503,
    IdentityUnavailable: 503,
    UpstreamUnavailable: 503,
    CatalogUnavailable: 503,
    InvalidResponse: 500,
}

# What the caller is told where the error itself is not for telling, or has nothing to tell.
_MESSAGES = {
    403: "The catalog is served for reading alone: whoever runs the service changes it.",
    404: "There is nothing at {path}.",
    405: "{path} does not take {method}; it takes {allow}.",
    500: "The service failed to answer; its log tells why under this request's id.",
    503: "The catalog of images cannot be reached at the moment; try again later.",
}


@dataclass(frozen=True)
class Fault:
    """What the caller is told of an error."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def fault_for(error: Exception, *, method: str, path: str, allowed: Iterable[str] = ()) -> Fault:
    """Make a fault of whatever ended the request: an error of the domain, of the libraries below, or a mistake.

    `allowed` are the methods that the contract has at the path, for whoever asked with another one.
    """
    status = error.status_code if isinstance(error, HTTPException) else _STATUS.get(type(error), 500)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException | Unauthorized) else {}
    if allowed:
        headers["Allow"] = ", ".join(allowed)
    told = isinstance(error, DomainError) and not isinstance(error, _FOR_THE_LOG)
    if status in _MESSAGES and not told:
        message = _MESSAGES[status].format(path=quote(path), method=method, allow=headers.get("Allow"))
    else:
        message = str(getattr(error, "detail", error))
    return Fault(status, message, headers)


_METHOD_NOT_ALLOWED = HTTPStatus.METHOD_NOT_ALLOWED

_log = logging.getLogger(__name__)


class FaultHandler:
    """Answers whatever ended a request with a Compute fault, and logs those that are the service's own."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    async def answer(self, request: ConnexionRequest, error: Exception) -> ConnexionResponse:
        """Make the answer. It is a coroutine so that Connexion calls it without a thread."""
        path = request.scope["path"]
        # Starlette knows only the methods of the first operation that it finds at a path.
        allowed = self._contract.methods(path) if getattr(error, "status_code", None) == _METHOD_NOT_ALLOWED else []
        fault = fault_for(error, method=request.method, path=path, allowed=allowed)
        if fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            request_id = request.scope["state"]["request_id"]
            _log.error(
                "%s %s %s: %s",
                request_id,
                request.method,
                quote(path),
                str(error) or type(error).__name__,
                exc_info=None if isinstance(error, DomainError) else error,
            )
        body = self._contract.fault(fault.status, fault.message)
        return ConnexionResponse(fault.status, body=body, mimetype="application/json", headers=fault.headers)
