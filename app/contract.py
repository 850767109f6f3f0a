"""The contract, loaded once and compiled: what may come in, and what may go out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from urllib.parse import quote as percent_encoded

import jsonschema_rs
import orjson

from app.faults import BadAnswer, BadBody, BadParameter, quote
from app.resources import as_yaml, parsed, resource
from app.schemas import Schema, compile_schema, in_words, problem
from app.timestamps import is_date_time

_NOTHING = {"type": "string", "nullable": True, "enum": []}  # no document
_INTEGER = re.compile("[0-9]{1,1000}")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operation."""

    name: str
    required: bool
    schema: Schema
    expected: str
    validator: jsonschema_rs.Validator

    @classmethod
    def of(cls, definition: Schema) -> "Parameter":
        """Compile a parameter of the document, all references resolved."""
        schema = definition["schema"]
        return cls(
            name=definition["name"],
            required=definition.get("required", False),
            schema=schema,
            expected=in_words(schema),
            validator=compile_schema(schema, formats={"date-time": is_date_time}),
        )

    def check(self, text: str) -> None:
        """Raise BadParameter unless the text, as it came in the URL, is what the contract says."""
        if not _is_unicode(text):
            raise BadParameter(self.name, f": {quote(_as_sent(text))} is not UTF-8, percent-encoded")
        value = int(text) if self.schema["type"] == "integer" and _INTEGER.fullmatch(text) else text
        if not self.validator.is_valid(value):
            hint = "; a '+' is sent as %2B" if self.schema.get("format") == "date-time" and " " in text else ""
            raise BadParameter(self.name, f": {quote(text)} is not {self.expected}{hint}")


@dataclass(frozen=True)
class Operation:
    """What one operation takes and answers."""

    path: Mapping[str, Parameter]
    query: Mapping[str, Parameter]
    body: jsonschema_rs.Validator | None
    answers: Mapping[int, jsonschema_rs.Validator]

    @classmethod
    def of(cls, definition: Schema) -> "Operation":
        """Compile an operation of the document, all references resolved."""
        parameters: dict[str, dict[str, Parameter]] = {"path": {}, "query": {}}
        body = definition.get("requestBody")
        for parameter in definition.get("parameters", []):
            parameters[parameter["in"]][parameter["name"]] = Parameter.of(parameter)
        answers = {status: compile_schema(schema) for status, schema in _answers(definition)}
        return cls(parameters["path"], parameters["query"], body and compile_schema(_schema(body)), answers)

    def check_path(self, values: Mapping[str, str]) -> None:
        """Raise BadParameter unless the decoded parts of the path are what the contract says."""
        for name, parameter in self.path.items():
            parameter.check(values[name])

    def check_query(self, query_string: bytes, *, ignore_unknown: bool) -> None:
        """Raise BadParameter for the first parameter of a query that is not what the contract says."""
        seen = set()
        for name, text in _decoded(query_string):
            if name in self.query:
                if name in seen:
                    raise BadParameter(name, " came more than once")
                seen.add(name)
                self.query[name].check(text)
            elif not ignore_unknown:
                known = f"known are {', '.join(sorted(self.query))}" if self.query else "none is"
                raise BadParameter(name, f" is not known; {known}")
        for name, parameter in self.query.items():
            if parameter.required and name not in seen:
                raise BadParameter(name, f" is missing; it takes {parameter.expected}")

    def check_body(self, body: bytes) -> None:
        """Raise BadBody unless a body is JSON of the shape that the contract says."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as reason:
            raise BadBody(f"it is not JSON: {reason}") from None
        wrong = self.body and problem(self.body, document)
        if wrong:
            raise BadBody(wrong)

    def check_answer(self, status: int, document: Any) -> None:
        """Raise BadAnswer unless a document is what the contract says of answers with this status."""
        if status not in self.answers:
            raise BadAnswer(f"the contract has no answer with status {status}")
        wrong = problem(self.answers[status], document)
        if wrong:
            raise BadAnswer(wrong)


class Contract:
    """The OpenAPI document: as it is served (`yaml`, `json`), and as it is applied (`operations`, by operationId)."""

    def __init__(self, document: Schema, text: bytes | None = None) -> None:
        """Take the document, and the text that it was read from."""
        self.yaml = text or as_yaml(document)
        self.document = document
        self.json = orjson.dumps(self.document)
        # Where several paths fit, the one that leaves least open is meant, says OpenAPI: `detail` is no image's id.
        paths = sorted(self.document["paths"].items(), key=lambda each: each[0].count("{"))
        self._methods = [(_path_pattern(path), _methods_of(item)) for path, item in paths]
        definitions = list(_definitions(self.document))
        self.operations = {each["operationId"]: Operation.of(each) for each in definitions}
        # The one key of the answers that have an error's status.
        self._fault_names = {
            status: schema["required"][0]
            for each in definitions
            for status, schema in _answers(each)
            if status >= HTTPStatus.BAD_REQUEST
        }
        self._tenants = [pattern for pattern, _ in self._methods if "tenant_id" in pattern.groupindex]
        self._tenant = compile_schema(self.document["components"]["schemas"]["TenantId"])

    @classmethod
    def load(cls, *, secured: bool) -> "Contract":
        """Read the document that travels with the service, as it is where callers are asked for a token, or are not."""
        text = resource("openapi/compute-images.yaml").read_bytes()
        document = parsed(text)
        return cls(document, text) if secured else cls(_unsecured(document))

    @property
    def token_header(self) -> str:
        """The header that has the token."""
        (scheme,) = self.document["components"]["securitySchemes"].values()
        return str(scheme["name"])

    def methods(self, path: str) -> list[str]:
        """Give the methods that operations have at a path."""
        return next((methods for pattern, methods in self._methods if pattern.fullmatch(path)), [])

    def tenant(self, path: str) -> str | None:
        """Give the tenant that a path names, where it is one."""
        found = next((match["tenant_id"] for each in self._tenants if (match := each.fullmatch(path))), None)
        return found if self._tenant.is_valid(found) else None

    def fault(self, status: int, message: str) -> bytes:
        """Write a fault as Compute does: under the name that it has for the status."""
        return orjson.dumps({self._fault_names.get(status, "computeFault"): {"code": status, "message": message}})


def _unsecured(document: Schema) -> Schema:
    """Give the document of a service that asks nobody who is calling."""
    unsecured: Schema = _without(document, _only_secured(document))
    return unsecured | {"security": []}


def _only_secured(document: Schema) -> set[str]:
    """Find the components that only a document with security has, as they are referred to."""
    return {
        f"#/components/{kind}/{name}"
        for kind, components in document["components"].items()
        for name, component in components.items()
        if component.get("x-only-secured")
    }


def _without(node: Any, gone: set[str]) -> Any:
    """Leave out what is marked, and what refers to it."""
    if isinstance(node, list):
        return [_without(each, gone) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _without(value, gone) for key, value in node.items() if not _is_gone(value, gone)}


def _is_gone(node: Any, gone: set[str]) -> bool:
    return isinstance(node, dict) and (node.get("x-only-secured", False) or node.get("$ref") in gone)


def _definitions(document: Schema) -> Iterator[Schema]:
    """Give the operations of the document, all references resolved, each with the parameters of its path."""
    for item in jsonschema_rs.dereference(document)["paths"].values():
        shared = item.get("parameters", [])
        for operation in item.values():
            if "operationId" in operation:
                yield operation | {"parameters": [*shared, *operation.get("parameters", [])]}


def _path_pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


def _methods_of(item: Schema) -> list[str]:
    """Give the methods of a path: whatever takes GET takes HEAD."""
    methods = [method.upper() for method in item if method in {"get", "put", "post", "delete"}]
    return sorted([*methods, *(["HEAD"] if "GET" in methods else [])])


def _answers(definition: Schema) -> Iterator[tuple[int, Schema]]:
    for status, answer in definition["responses"].items():
        yield int(status), _schema(answer) if "content" in answer else _NOTHING


def _schema(described: Schema) -> Schema:
    """Give the schema of a request's body or an answer's."""
    return described["content"]["application/json"]["schema"]  # type: ignore[no-any-return]


def _decoded(query_string: bytes) -> Iterator[tuple[str, str]]:
    """Give the pairs of a query, what is no UTF-8 in them as surrogates, in the order in which they came."""
    text = query_string.decode("ascii", "surrogateescape")
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        if not _is_unicode(name):
            raise BadParameter(_as_sent(name), " is not UTF-8, percent-encoded")
        yield name, value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_sent(text: str) -> str:
    return percent_encoded(text, errors="surrogateescape")
