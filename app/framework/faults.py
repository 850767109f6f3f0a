"""Conversion of errors to Compute faults."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from connexion.lifecycle import ConnexionRequest, ConnexionResponse
from starlette.exceptions import HTTPException

from app import errors
from app.catalog import errors as catalog_errors
from app.contract.document import Contract
from app.errors import INTERNAL_ERROR, DomainError
from app.text import quote

# Also of the subclasses without an entry of their own.
_STATUS: Mapping[type[Exception], HTTPStatus] = {
    errors.InvalidParameter: HTTPStatus.BAD_REQUEST,
    errors.InvalidHost: HTTPStatus.BAD_REQUEST,
    errors.HostNotAllowed: HTTPStatus.BAD_REQUEST,
    errors.InvalidBody: HTTPStatus.BAD_REQUEST,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.CrossOriginRequest: HTTPStatus.FORBIDDEN,
    errors.ProjectMismatch: HTTPStatus.FORBIDDEN,
    errors.NotImageOwner: HTTPStatus.FORBIDDEN,
    errors.MetadataQuotaExceeded: HTTPStatus.FORBIDDEN,
    catalog_errors.CatalogReadOnly: HTTPStatus.FORBIDDEN,
    errors.ReplicaReadOnly: HTTPStatus.FORBIDDEN,
    errors.UpstreamForbidden: HTTPStatus.FORBIDDEN,
    errors.ImageNotFound: HTTPStatus.NOT_FOUND,
    errors.MetadataItemNotFound: HTTPStatus.NOT_FOUND,
    errors.UpstreamConflict: HTTPStatus.CONFLICT,
    errors.RequestBodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.InvalidResponse: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.IdentityUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UpstreamUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    catalog_errors.QueryTimeout: HTTPStatus.SERVICE_UNAVAILABLE,
    catalog_errors.TooManyQueries: HTTPStatus.SERVICE_UNAVAILABLE,
    catalog_errors.CatalogUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRY_AFTER = "5"  # seconds, of a 503 whose error does not state a time

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """What a client receives for an error."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def fault_for(error: Exception, *, method: str, path: str, allowed: Sequence[str] = ()) -> Fault:
    """Return the fault for a domain error, an HTTP error of a library, or any other exception.

    `allowed` are the contract's methods of the path, for an error with status 405. A fault with status 503 states when
    to repeat the request.
    """
    fault = _fault_for(error, method, path, allowed)
    if fault.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return replace(fault, headers={"Retry-After": RETRY_AFTER, **fault.headers})
    return fault


def _fault_for(error: Exception, method: str, path: str, allowed: Sequence[str]) -> Fault:
    mapped = next((_STATUS[each] for each in type(error).__mro__ if each in _STATUS), None)
    if isinstance(error, DomainError) and mapped:
        return Fault(mapped, error.public_message, error.headers)
    if not isinstance(error, HTTPException):
        return Fault(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR)
    headers = dict(error.headers or {})
    if allowed:
        headers["Allow"] = ", ".join(allowed)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            # Clients whose base URL ends with a slash append another one.
            hint = " It has an empty segment: does a base URL end with a slash?" if "//" in path else ""
            message = f"Path {quote(path)} not found.{hint}"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            message = f"{quote(path)} does not support {method}; supported methods are {headers['Allow']}."
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            message = INTERNAL_ERROR
        case _:
            message = error.detail
    return Fault(error.status_code, message, headers)


class FaultHandler:
    """Sends a Compute fault for every error, and logs the errors with a status of 500 and above."""

    def __init__(self, contract: Contract, *, report_damage: Callable[[catalog_errors.CatalogDamaged], None]) -> None:
        """Set what is called with an error that shows that the catalog is damaged."""
        self._contract = contract
        self._report_damage = report_damage

    async def handle(self, request: ConnexionRequest, error: Exception) -> ConnexionResponse:
        """Return the response. It is a coroutine so that Connexion does not call it in a thread."""
        path = request.scope["path"]
        is_wrong_method = getattr(error, "status_code", None) == HTTPStatus.METHOD_NOT_ALLOWED
        # Starlette knows only the methods of the first operation that it finds at a path.
        allowed = self._contract.methods(path) if is_wrong_method else []
        fault = fault_for(error, method=request.method, path=path, allowed=allowed)
        if is_wrong_method and request.method == "OPTIONS":  # asks for the same header, and is no error
            return ConnexionResponse(HTTPStatus.NO_CONTENT, headers=fault.headers)
        if isinstance(error, catalog_errors.CatalogDamaged):
            self._report_damage(error)
        if fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error(
                "%s %s: %s",
                request.method,
                quote(path),
                str(error) or type(error).__name__,
                exc_info=None if isinstance(error, DomainError) else error,
            )
        body = self._contract.fault(fault.status, fault.message)
        return ConnexionResponse(fault.status, body=body, mimetype="application/json", headers=fault.headers)
