"""The errors of the domain, and the one table that makes each a Compute fault.

Errors carry what happened, faults what the caller is told of it. By what name Compute calls a fault of some status
stands in the contract.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

_LONGEST_QUOTE = 100


def quote(value: str) -> str:
    """Quote what came so that it fits into one line: escaped, and cut where it is long."""
    return repr(value if len(value) <= _LONGEST_QUOTE else value[:_LONGEST_QUOTE] + "…")


def printable(text: str) -> str:
    """Escape what would break a line, or tell a terminal to do something."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


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


class BadBody(DomainError):
    """The body of a request is not what the contract says."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The body is wrong: {problem}.")


class BodyTooLarge(DomainError):
    """The body of a request is longer than any that could be taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The body is longer than {most} bytes.")


class BadMediaType(DomainError):
    """The body of a request is something else than JSON."""

    def __init__(self, header: str, value: str, allowed: str) -> None:
        super().__init__(f"Header {quote(header)}: {quote(value)} is not {allowed}.")


class ImageNotFound(DomainError):
    """The tenant can see no image of this id: there is none, or it is not for the tenant."""

    def __init__(self) -> None:
        super().__init__("Image not found.")


class ItemNotFound(DomainError):
    """An image's metadata have no item of this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The image's metadata have no item {quote(key)}.")


class NotAllowed(DomainError):
    """The tenant can see an image, but may not change it."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"Image {quote(image_id)} does not belong to the project.")


class TooManyItems(DomainError):
    """An image would have more metadata than it may have."""

    def __init__(self, count: int, most: int) -> None:
        super().__init__(f"The image would have {count} items of metadata; it may have {most}.")


class NoSuchToken(DomainError):
    """The catalog has no token of this id."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"There is no token {quote(token_id)}.")


class Unauthorized(DomainError):
    """Nobody knows who is calling. The challenge says how a caller is known here (RFC 9110, section 11.6.1)."""

    def __init__(self, problem: str, challenge: str) -> None:
        super().__init__(problem)
        self.headers = {"WWW-Authenticate": challenge}


class OtherTenant(DomainError):
    """The caller is another tenant than the one whose images are asked for, or none."""

    def __init__(self, caller: str | None, tenant: str) -> None:
        whose = "no project" if caller is None else f"project {caller}"
        super().__init__(f"The token is for {whose}, and the path names {quote(tenant)}.")


class IdentityUnavailable(DomainError):
    """Who tells who is calling cannot be asked."""

    def __init__(self) -> None:
        super().__init__("Who is calling cannot be found out at the moment; try again later.")


class CatalogBusy(DomainError):
    """Others are changing the catalog, and are not done in time."""

    def __init__(self) -> None:
        super().__init__("The catalog is being changed by others; try again later.")


class CopyReadOnly(DomainError):
    """An image of a copy is to be changed where that cannot be done at the image service first."""

    def __init__(self, image_id: str, upstream: str) -> None:
        super().__init__(f"Image {quote(image_id)} is a copy of the one at {upstream}: change it there.")


class UpstreamForbids(DomainError):
    """The image service does not let the caller change an image."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"The image service does not let you change image {quote(image_id)} so.")


class UpstreamConflict(DomainError):
    """The image service cannot change an image in the state that it is in."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"The image service cannot change image {quote(image_id)} now: it is in use.")


class UpstreamUnavailable(DomainError):
    """The image service, which is to change an image first, gives no answer that could be used."""

    def __init__(self) -> None:
        super().__init__("The image service cannot be reached at the moment; try again later.")


class CatalogUnavailable(DomainError):
    """The catalog cannot be read. What it says is for the log."""


class CatalogReadOnly(CatalogUnavailable):
    """The catalog's file, or its folder, cannot be written to. What it says is for the log, and for the command."""


class BadAnswer(DomainError):
    """An answer of our own is not what the contract says. What it says is for the log."""


_FOR_THE_LOG = (CatalogUnavailable, BadAnswer)


_STATUS: dict[type[Exception], int] = {
    BadParameter: 400,
    BadHost: 400,
    BadBody: 400,
    Unauthorized: 401,
    OtherTenant: 403,
    NotAllowed: 403,
    TooManyItems: 403,
    CatalogReadOnly: 403,
    CopyReadOnly: 403,
    UpstreamForbids: 403,
    ImageNotFound: 404,
    ItemNotFound: 404,
    UpstreamConflict: 409,
    BodyTooLarge: 413,
    BadMediaType: 415,
    CatalogBusy: 503,
    IdentityUnavailable: 503,
    UpstreamUnavailable: 503,
    CatalogUnavailable: 503,
    BadAnswer: 500,
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


def fault_of(error: Exception, *, method: str, path: str, allowed: Iterable[str] = ()) -> Fault:
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
