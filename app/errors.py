"""Domain exceptions."""

from app.text import quote


class DomainError(Exception):
    """What can go wrong in the domain."""


class InvalidParameter(DomainError):
    """A parameter of the request is not what the contract says. The problem goes on where its name ends."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"Parameter {quote(name)}{problem}.")


class InvalidHost(DomainError):
    """Links cannot be built from the request's Host header."""

    def __init__(self, host: str) -> None:
        super().__init__(f"Header 'Host': {quote(host)} is not a host, with or without a port.")


class InvalidBody(DomainError):
    """The body of a request is not what the contract says."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The body is wrong: {problem}.")


class RequestBodyTooLarge(DomainError):
    """The body of a request is longer than any that could be taken."""

    def __init__(self, most: int) -> None:
        super().__init__(f"The body is longer than {most} bytes.")


class UnsupportedMediaType(DomainError):
    """The body of a request is something else than JSON."""

    def __init__(self, header: str, value: str, allowed: str) -> None:
        super().__init__(f"Header {quote(header)}: {quote(value)} is not {allowed}.")


class ImageNotFound(DomainError):
    """The tenant can see no image of this id: there is none, or it is not for the tenant."""

    def __init__(self) -> None:
        super().__init__("Image not found.")


class MetadataItemNotFound(DomainError):
    """An image's metadata have no item of this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The image's metadata have no item {quote(key)}.")


class NotImageOwner(DomainError):
    """The tenant can see an image, but may not change it."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"Image {quote(image_id)} does not belong to the project.")


class MetadataQuotaExceeded(DomainError):
    """An image would have more metadata than it may have."""

    def __init__(self, count: int, most: int) -> None:
        super().__init__(f"The image would have {count} items of metadata; it may have {most}.")


class TokenNotFound(DomainError):
    """The catalog has no token of this id."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"There is no token {quote(token_id)}.")


class Unauthorized(DomainError):
    """Nobody knows who is calling. The challenge says how a caller is known here (RFC 9110, section 11.6.1)."""

    def __init__(self, problem: str, challenge: str) -> None:
        super().__init__(problem)
        self.headers = {"WWW-Authenticate": challenge}


class ProjectMismatch(DomainError):
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


class ReplicaReadOnly(DomainError):
    """An image of a copy is to be changed where that cannot be done at the image service first."""

    def __init__(self, image_id: str, upstream: str) -> None:
        super().__init__(f"Image {quote(image_id)} is a copy of the one at {upstream}: change it there.")


class UpstreamForbidden(DomainError):
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


class InvalidResponse(DomainError):
    """An answer of our own is not what the contract says. What it says is for the log."""
