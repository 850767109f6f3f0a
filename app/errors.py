"""The errors of the domain, with their messages. framework/faults.py maps each to the status of a response."""

from collections.abc import Mapping
from types import MappingProxyType

from app.text import escape_control_characters, quote

INTERNAL_ERROR = "Internal error. See the service log for this request id."


class DomainError(Exception):
    """Base of the domain's errors."""

    headers: Mapping[str, str] = MappingProxyType({})  # of a response that reports the error

    @property
    def public_message(self) -> str:
        """The message for clients. Errors whose text is intended for the log only override it."""
        return str(self)


class InvalidParameter(DomainError):
    """A request parameter violates the contract."""

    def __init__(self, name: str, problem: str) -> None:
        """Set the problem, which continues the sentence after the parameter's name."""
        super().__init__(f"Parameter {quote(name)}{problem}.")


class InvalidHost(DomainError):
    """The request's Host header cannot be used in links."""

    def __init__(self, host: str) -> None:
        super().__init__(f"Header 'Host': {quote(host)} is not a host name or address with an optional port.")


class HostNotAllowed(DomainError):
    """The request's Host header names a host that is not allowed."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Header 'Host': {quote(host)} is not a host of this service; IMAGES_ALLOWED_HOSTS can add it."
        )


class CrossOriginRequest(DomainError):
    """A page of another origin sent a change without a token."""

    def __init__(self, origin: str) -> None:
        source = f"the origin {quote(origin)}" if origin else "another origin"
        super().__init__(
            f"A page of {source} cannot change images without a token; IMAGES_CORS_ORIGINS can allow its origin."
        )


class InvalidBody(DomainError):
    """The request body violates the contract."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Invalid request body: {problem}.")


class RequestBodyTooLarge(DomainError):
    """The request body exceeds the size limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The request body is larger than {max_bytes} bytes.")


class UnsupportedMediaType(DomainError):
    """The request body is not plain JSON."""

    def __init__(self, header: str, value: str, allowed: str) -> None:
        problem = f": {quote(value)} is not" if value else " is missing; expected"
        super().__init__(f"Header {quote(header)}{problem} {allowed}.")


class ImageNotFound(DomainError):
    """The image does not exist, or is not visible to the project."""

    def __init__(self) -> None:
        super().__init__("Image not found.")


class MetadataItemNotFound(DomainError):
    """The image has no metadata item with this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The image has no metadata item {quote(key)}.")


class NotImageOwner(DomainError):
    """The project can see the image, but does not own it."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"Image {quote(image_id)} does not belong to the project.")


class MetadataQuotaExceeded(DomainError):
    """The image would have more metadata items than allowed."""

    def __init__(self, count: int, max_items: int) -> None:
        super().__init__(f"The image would have {count} metadata items; the maximum is {max_items}.")


class TokenNotFound(DomainError):
    """The catalog has no token with this id, or with this id and this secret. The message does not contain a secret."""

    def __init__(self, token_id: str, *, with_secret: bool) -> None:
        super().__init__(f"There is no token {quote(token_id)}{' with this secret' if with_secret else ''}.")


class Unauthorized(DomainError):
    """The request lacks valid credentials."""

    def __init__(self, problem: str, challenge: str) -> None:
        """Set the message, and the challenge that states how to authenticate (RFC 9110, section 11.6.1)."""
        super().__init__(problem)
        self.headers = {"WWW-Authenticate": challenge}


class ProjectMismatch(DomainError):
    """The caller's project is not the one in the path."""

    def __init__(self, own: str | None, requested: str) -> None:
        scope = "no project" if own is None else f"project {escape_control_characters(own)}"
        super().__init__(f"The token is for {scope}, and the path names {quote(requested)}.")


class IdentityUnavailable(DomainError):
    """The identity service cannot validate tokens. The message is for the log only."""

    public_message = "The identity service is unavailable; try again later."


class MirrorAlreadyRunning(DomainError):
    """A mirror of the same catalog is running, or a backup is being restored to it."""

    def __init__(self, catalog: str) -> None:
        super().__init__(f"Another mirror, or a restore, already writes to {catalog}.")


class MirrorLockLost(DomainError):
    """The session of a mirror or a restore was lost, and with it the lock, which it needs to write."""

    def __init__(self, catalog: str) -> None:
        super().__init__(
            f"The connection to {catalog} was lost, and with it the lock of the mirror. This mirror, or restore, "
            "stops, because another one may be running now."
        )


class ReplicaReadOnly(DomainError):
    """An image of a replica cannot be changed in this authentication mode."""

    def __init__(self, image_id: str, upstream: str) -> None:
        super().__init__(f"Image {quote(image_id)} is replicated from {upstream}: change it there.")


class UpstreamForbidden(DomainError):
    """The upstream image service denies the caller a change."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"The image service denied this change to image {quote(image_id)}.")


class UpstreamConflict(DomainError):
    """The upstream image service cannot change the image in its current state."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"The image service cannot change image {quote(image_id)} now: it is in use.")


class UpstreamUnavailable(DomainError):
    """The upstream image service, where a change has to be made first, is unavailable."""

    def __init__(self) -> None:
        super().__init__("The image service is unavailable; try again later.")


class InvalidResponse(DomainError):
    """A response of the service violates the contract. The message is for the log only."""

    public_message = INTERNAL_ERROR
