"""SQL injection: SQL in any parameter of the contract is treated as data."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pytest

from app.contract.document import Contract
from app.contract.operations import Parameter
from app.errors import InvalidParameter
from tests.integration.server.attacks.texts import SQL
from tests.integration.server.conftest import LIST
from tests.integration.server.wire import JSON, Connection, percent_encoded, request
from tests.support.images import image_id

CONTRACT = Contract.load(secured=False)
COMPONENTS = CONTRACT.document["components"]
PRIVATE, PUBLIC = image_id(3), 2  # an image that only its owner sees, and the number of public images
EXAMPLES = {each["name"]: each.get("example") for each in COMPONENTS["parameters"].values()}


class Place(NamedTuple):
    """A parameter of an operation."""

    method: str
    path: str
    parameter: Parameter
    is_query: bool
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.parameter.name}"

    @property
    def names_project(self) -> bool:
        """Whether the text is the id of a project, which owns no image and sees the public ones only."""
        return self.parameter.name == "tenant_id"

    def request(self, text: str) -> bytes:
        """Build a request with the text in this place, and examples in the other parts of the path."""
        name, value = self.parameter.name, percent_encoded(text)
        target = (
            self.path.format(**EXAMPLES) + f"?{name}={value}"
            if self.is_query
            else self.path.format(**EXAMPLES | ({"image_id": PRIVATE} if self.names_project else {}) | {name: value})
        )
        return request(target, JSON, f"Content-Length: {len(self.body)}", method=self.method) + self.body

    def expected_status(self, text: str) -> int:
        """Return the status for the text: invalid, or valid without a match."""
        try:
            self.parameter.parse(text)
        except InvalidParameter:
            return 400
        if self.names_project and self.path.endswith(("/images", "/images/detail")):
            return 200
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
    if "requestBody" not in definition:
        return b""
    name = definition["requestBody"]["$ref"].rpartition("/")[2]
    return orjson.dumps(COMPONENTS["requestBodies"][name]["content"]["application/json"]["example"])


@pytest.mark.parametrize("place", list(places()), ids=str)
def test_sql_is_treated_as_any_text(connection: Connection, place: Place) -> None:
    for text in SQL:
        response = connection.fetch(place.request(text))
        assert response.status == place.expected_status(text), text
        if response.status == 200:
            assert len(response.images) == (PUBLIC if place.names_project else 0), text
        else:
            assert response.fault, text
    assert len(connection.fetch(request(LIST)).images) == 3
