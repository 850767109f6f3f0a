"""The errors of the domain, and the one table that makes each a Compute fault.

Errors carry what happened, faults what the caller is told of it. By what name Compute calls a fault of some status
stands in the contract.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

_LONGEST_QUOTE = 100


def quote(value: str) -> str:
    """Quote what came so that it fits into one line: escaped, and cut where it is long."""
    return repr(value if len(value) <= _LONGEST_QUOTE else value[:_LONGEST_QUOTE] + "…")


class DomainError(Exception):
    """What can go wrong in the domain."""


class BadParameter(DomainError):
    """A parameter of the request is not what the contract says. The problem goes on where its name ends."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"Parameter {quote(name)}{problem}.")


class BadHost(DomainError):
    """Links cannot be built from the request's Host header."""

    def __init__(self, host: str) -> None:
        super().__init__(f"Header 'Host': {quote(host)} is not a host, with or without a port.")


class CatalogUnavailable(DomainError):
    """The catalog cannot be read. What it says is for the log."""


class BadAnswer(DomainError):
    """An answer of our own is not what the contract says. What it says is for the log."""


_STATUS: dict[type[Exception], int] = {
    BadParameter: 400,
    BadHost: 400,
    CatalogUnavailable: 503,
    BadAnswer: 500,
}

# What the caller is told where the error itself is not for telling, or has nothing to tell.
_MESSAGES = {
    404: "There is nothing at {path}.",
    405: "{path} does not take {method}; it takes {allow}.",
    500: "The service failed to answer; its log tells why under this request's id.",
    503: "The catalog of images cannot be read at the moment; try again later.",
}


@dataclass(frozen=True)
class Fault:
    """What the caller is told of an error."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def fault_of(error: Exception, *, method: str, path: str) -> Fault:
    """Make a fault of whatever ended the request: an error of the domain, of the libraries below, or a mistake."""
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
    else:
        status, headers = _STATUS.get(type(error), 500), {}
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))  # Starlette's come from a set
    if status in _MESSAGES:
        message = _MESSAGES[status].format(path=quote(path), method=method, allow=headers.get("Allow"))
    else:
        message = str(getattr(error, "detail", error))
    return Fault(status, message, headers)
