"""The requests that a test double has received."""

from dataclasses import asdict, dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send

_MAX_BODY_BYTES = 65_536


@dataclass
class RecordedRequest:
    """A request, with the status of its response if it has one."""

    method: str
    path: str
    query: str
    operation: str | None
    headers: list[tuple[str, str]]
    body: bytes = b""
    status: int | None = None

    @classmethod
    def of(cls, scope: Scope, operation: str | None) -> "RecordedRequest":
        """Record what the scope of a request contains."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        return cls(scope["method"], path, query, operation, headers)

    def record_body(self, receive: Receive) -> Receive:
        """Return a `receive` that records the body, up to a limit."""

        async def record() -> Message:
            message = await receive()
            self.body = (self.body + message.get("body", b""))[:_MAX_BODY_BYTES]
            return message

        return record

    def record_status(self, send: Send) -> Send:
        """Return a `send` that records the status of the response."""

        async def record(message: Message) -> None:
            self.status = message.get("status", self.status)
            await send(message)

        return record

    def document(self) -> dict[str, Any]:
        """Return the request as the contract defines it."""
        return asdict(self) | {"body": self.body.decode(errors="replace")}
