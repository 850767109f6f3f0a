"""SQL in every parameter that the contract has: the answer is what the text deserves as data."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pytest

from app.contract.document import Contract
from app.contract.operations import Parameter
from app.errors import InvalidParameter
from tests.integration.server.attacks.texts import SQL
from tests.integration.server.conftest import LIST
from tests.integration.server.wire import Connection, percent_encoded, request

CONTRACT = Contract.load(secured=False)
COMPONENTS = CONTRACT.document["components"]
EXAMPLES = {each["name"]: each.get("example") for each in COMPONENTS["parameters"].values()}


class Place(NamedTuple):
    """A parameter of an operation, where a text comes in."""

    method: str
    path: str
    parameter: Parameter
    is_query: bool
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.parameter.name}"

    def request(self, text: str) -> bytes:
        """Write a request that has the text here, and examples in the rest of its path."""
        name, value = self.parameter.name, percent_encoded(text)
        target = (
            self.path.format(**EXAMPLES) + f"?{name}={value}"
            if self.is_query
            else self.path.format(**EXAMPLES | {name: value})
        )
        return request(target, f"Content-Length: {len(self.body)}", method=self.method) + self.body

    def deserved(self, text: str) -> int:
        """Give the status that the text deserves: it finds nothing, where it is one that the contract takes."""
        try:
            self.parameter.check(text)
        except InvalidParameter:
            return 400
        if self.is_query:
            return 400 if self.parameter.name == "marker" else 200
        return 400 if (self.method, self.parameter.name) == ("PUT", "key") else 404  # the body names another key


def places() -> Iterator[Place]:
    for path, item in CONTRACT.document["paths"].items():
        for method, definition in item.items():
            operation = CONTRACT.operations[definition["operationId"]]
            for parameters, is_query in ((operation.path, False), (operation.query, True)):
                for parameter in parameters.values():
                    yield Place(method.upper(), path, parameter, is_query, body_of(definition))


def body_of(definition: dict[str, Any]) -> bytes:
    """Give the example of an operation's body, where it has one."""
    if "requestBody" not in definition:
        return b""
    name = definition["requestBody"]["$ref"].rpartition("/")[2]
    return orjson.dumps(COMPONENTS["requestBodies"][name]["content"]["application/json"]["example"])


@pytest.mark.parametrize("place", list(places()), ids=str)
def test_sql_is_answered_as_any_text_is(connection: Connection, place: Place) -> None:
    for text in SQL:
        answer = connection.ask(place.request(text))
        assert answer.status == place.deserved(text), text
        assert answer.document == {"images": []} if answer.status == 200 else answer.fault, text
    assert len(connection.ask(request(LIST)).images) == 3
