"""Connexion's `validator_map`: validation by the contract's compiled schemas.

They have the interface of Connexion's own validators, which would parse and compile the schemas for each request,
ignore most formats, and accept contradictory parameters.
"""

from functools import partial
from typing import Any

from connexion.decorators.parameter import pythonic
from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.types import Message, Receive, Scope, Send

from app.asgi import read_body, replay_body
from app.context import RequestContext
from app.contract.document import Contract
from app.contract.operations import Operation


def validator_map(contract: Contract) -> dict[str, Any]:
    """Return the `validator_map`."""
    return {
        "body": {"application/json": partial(BodyValidator, contract)},
        "parameter": partial(ParameterValidator, contract),
        "response": {"application/json": partial(ResponseValidator, contract)},
    }


class ParameterValidator:
    """Validates the path and the query of a request, and sets them as the arguments of the operation."""

    def __init__(
        self, contract: Contract, definitions: list[dict[str, Any]], *, strict_validation: bool, **_: Any
    ) -> None:
        self._contract = contract
        self._strict = strict_validation
        self._names = {each["name"]: pythonic(each["name"]) for each in definitions}

    def validate(self, scope: Scope) -> None:
        """Raise InvalidParameter unless all parameters are valid."""
        operation = _operation_of(self._contract, scope)
        values = operation.parse_path(scope["path_params"])
        values |= operation.parse_query(scope["query_string"], lenient=not self._strict)
        RequestContext.of(scope).arguments = {self._names[name]: value for name, value in values.items()}


class BodyValidator:
    """Validates the body of a request, and sets its document as an argument of the operation."""

    def __init__(self, contract: Contract, **_: Any) -> None:
        self._contract = contract

    async def wrap_receive(self, receive: Receive, *, scope: Scope) -> tuple[Receive, Scope]:
        """Read the body, and return a `receive` that replays it. Raises InvalidBody unless it is valid."""
        body = await read_body(receive)
        RequestContext.of(scope).arguments["body"] = _operation_of(self._contract, scope).parse_body(body)
        return replay_body(body, receive), scope


class ResponseValidator:
    """Validates a response before any of it is sent."""

    def __init__(self, contract: Contract, scope: Scope, **_: Any) -> None:
        self._operation = _operation_of(contract, scope)
        self._context = RequestContext.of(scope)

    def wrap_send(self, send: Send) -> Send:
        """Return a `send` that buffers a response until its document is validated, and marks it as validated.

        FlaskDispatcher passes the document along with its bytes, so they need not be parsed.
        """
        buffered: list[Message] = []

        async def validate(message: Message) -> None:
            buffered.append(message)
            if message["type"] == "http.response.body":
                status, document = buffered[0]["status"], message.pop("document")
                self._operation.validate_response(status, document)
                self._context.is_validated = True
                for each in buffered:
                    await send(each)

        return validate


def _operation_of(contract: Contract, scope: Scope) -> Operation:
    return contract.operations[scope["extensions"][ROUTING_CONTEXT]["operation_id"]]
