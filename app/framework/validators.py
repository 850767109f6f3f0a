"""How Connexion asks the contract: the validators of its `validator_map`.

They keep to the way that Connexion calls its own, one object a request, and leave all that can be known before to the
contract. Connexion's own validators would parse and compile for each request, ignore most formats, and say nothing of
a parameter that comes twice.
"""

from functools import partial
from typing import Any

from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.types import Message, Receive, Scope, Send

from app.asgi import read_body, replay_body
from app.contract.document import Contract
from app.contract.operations import Operation


def validator_map(contract: Contract) -> dict[str, Any]:
    """Build what Connexion takes for its `validator_map`."""
    return {
        "body": {"application/json": partial(BodyValidator, contract)},
        "parameter": partial(ParameterValidator, contract),
        "response": {"application/json": partial(ResponseValidator, contract)},
    }


class ParameterValidator:
    """Checks the path and the query of a request."""

    def __init__(
        self, contract: Contract, _definitions: list[dict[str, Any]], *, strict_validation: bool, **_: Any
    ) -> None:
        self._contract = contract
        self._strict = strict_validation

    def validate(self, scope: Scope) -> None:
        """Raise BadParameter unless the contract's parameters are all as it says."""
        operation = _operation_of(self._contract, scope)
        operation.check_path(scope["path_params"])
        operation.check_query(scope["query_string"], ignore_unknown=not self._strict)


class BodyValidator:
    """Checks the body of a request before any of it is used."""

    def __init__(self, contract: Contract, **_: Any) -> None:
        self._contract = contract

    async def wrap_receive(self, receive: Receive, *, scope: Scope) -> tuple[Receive, Scope]:
        """Read the body and give it again. Raises BadBody unless it is what the contract says."""
        body = await read_body(receive)
        _operation_of(self._contract, scope).check_body(body)
        return replay_body(body, receive), scope


class ResponseValidator:
    """Checks an answer before any of it is sent."""

    def __init__(self, contract: Contract, scope: Scope, **_: Any) -> None:
        self._operation = _operation_of(contract, scope)
        self._state = scope["state"]

    def wrap_send(self, send: Send) -> Send:
        """Hold an answer back until it was found to be as the contract says, and mark it as checked.

        What is checked is the document that travels beside its bytes: nothing is parsed again.
        """
        held: list[Message] = []

        async def check(message: Message) -> None:
            held.append(message)
            if message["type"] == "http.response.body":
                self._operation.check_answer(held[0]["status"], message.pop("document"))
                self._state["checked"] = True
                for each in held:
                    await send(each)

        return check


def _operation_of(contract: Contract, scope: Scope) -> Operation:
    return contract.operations[scope["extensions"][ROUTING_CONTEXT]["operation_id"]]
