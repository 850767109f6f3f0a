"""The OpenAPI document: the only definition of the interface."""

import re
from collections.abc import Iterator
from functools import cached_property
from http import HTTPStatus

import jsonschema_rs
import orjson

from app.contract.operations import Operation, response_schemas
from app.contract.schemas import Schema, compile_schema
from app.contract.variants import TEST_DOUBLE, variant
from app.resources import dump_yaml, load_yaml, resource_path


class Contract:
    """The OpenAPI document, as text (`yaml`, `json`) and compiled (`operations`, by operationId)."""

    def __init__(self, document: Schema) -> None:
        """Compile the document."""
        self.document = document
        self.json = orjson.dumps(self.document)
        (server,) = document["servers"]
        self._server_url: str = server["url"]
        # OpenAPI matches concrete paths before templated ones: `/images/detail` is not an image named "detail".
        paths = sorted(self.document["paths"].items(), key=lambda each: each[0].count("{"))
        self._paths = [(_path_pattern(path), _methods_of(item), _operation_ids(item)) for path, item in paths]
        self.all_methods = sorted({method for _, methods, _ in self._paths for method in methods})
        self._definitions = {each["operationId"]: each for each in _operation_definitions(self.document)}
        self.operations = {name: Operation(each) for name, each in self._definitions.items()}
        security = self.document["security"]
        self.secured_operations = {name for name, each in self._definitions.items() if each.get("security", security)}
        # The document of a fault has one key, which depends on the status: {"badRequest": {"code": 400, …}}.
        self._fault_names = {
            status: schema["required"][0]
            for each in self._definitions.values()
            for status, schema in response_schemas(each)
            if status >= HTTPStatus.BAD_REQUEST and len(schema["required"]) == 1
        } | {
            status: schema["required"][0]
            for schema in self.document["components"]["schemas"].values()
            for status in schema.get("x-other-statuses", ())
        }
        # The operations that control a test double.
        self.control_ids = {
            operation_id
            for item in self.document["paths"].values()
            if item.get(TEST_DOUBLE)
            for operation_id in _operation_ids(item).values()
        }
        self._project_paths = [pattern for pattern, _, _ in self._paths if "tenant_id" in pattern.groupindex]
        self._project_id = compile_schema(self.document["components"]["schemas"]["TenantId"])

    @classmethod
    def load(cls, *, secured: bool, testing: bool = False) -> "Contract":
        """Read the document from the package.

        Unless `secured`, remove what concerns authentication; unless `testing`, what concerns a test double.
        """
        document = load_yaml(resource_path("openapi/compute-images.yaml").read_bytes())
        return cls(variant(document, secured=secured, testing=testing))

    @cached_property
    def yaml(self) -> bytes:
        """The document as YAML."""
        return dump_yaml(self.document)

    @property
    def token_header(self) -> str:
        """The name of the header that carries the token."""
        (scheme,) = self.document["components"]["securitySchemes"].values()
        return str(scheme["name"])

    def json_at(self, url: str) -> bytes:
        """Return the document as JSON, for a service at this URL."""
        return self.json.replace(b'"url":' + orjson.dumps(self._server_url), b'"url":' + orjson.dumps(url), 1)

    def yaml_at(self, url: str) -> bytes:
        """Return the document as YAML, for a service at this URL. A JSON string is valid in YAML, too."""
        return self.yaml.replace(f"url: {self._server_url}".encode(), b"url: " + orjson.dumps(url), 1)

    @property
    def independent_paths(self) -> frozenset[str]:
        """The paths that can be read without the catalog."""
        reads = ((path, item.get("get", {})) for path, item in self.document["paths"].items())
        return frozenset(path for path, operation in reads if operation.get("x-independent-of-catalog"))

    def list_validator(self, operation_id: str, name: str) -> jsonschema_rs.Validator:
        """Compile the schema of a list in the successful responses of an operation, for validation in parts.

        A list is valid if each of its parts is valid. Raises ValueError if this is not certain: because the schema
        constrains more than the items, or because it is not the same in all successful responses.
        """
        responses = response_schemas(self._definitions[operation_id])
        lists = [schema["properties"][name] for status, schema in responses if status < HTTPStatus.MULTIPLE_CHOICES]
        if any(each != lists[0] or not each.keys() <= {"type", "items", "description"} for each in lists):
            raise ValueError(f"{operation_id}: the list {name!r} cannot be validated in parts")
        return compile_schema(lists[0])

    def methods(self, path: str) -> list[str]:
        """Return the methods that the contract defines for a path; none if it does not define the path."""
        return next((methods for pattern, methods, _ in self._paths if pattern.fullmatch(path)), [])

    def operation_id(self, method: str, path: str) -> str | None:
        """Return the id of the operation that a request calls, or None if the contract does not define it."""
        ids = next((ids for pattern, _, ids in self._paths if pattern.fullmatch(path)), {})
        return ids.get("GET" if method == "HEAD" else method)

    def project_of_path(self, path: str) -> str | None:
        """Return the project id in a path, or None if the path has none or an invalid one."""
        project_id = next((match["tenant_id"] for each in self._project_paths if (match := each.fullmatch(path))), None)
        return project_id if self._project_id.is_valid(project_id) else None

    def fault(self, status: int, message: str) -> bytes:
        """Serialize a Compute fault, under the key that the contract defines for the status."""
        return orjson.dumps({self._fault_names.get(status, "computeFault"): {"code": status, "message": message}})


def _operation_definitions(document: Schema) -> Iterator[Schema]:
    """Yield the operation objects, all references resolved, each with the parameters of its path item added."""
    for item in jsonschema_rs.dereference(document)["paths"].values():
        shared = item.get("parameters", [])
        for operation in _operations_of(item).values():
            yield operation | {"parameters": [*shared, *operation.get("parameters", [])]}


def _path_pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


def _operations_of(item: Schema) -> dict[str, Schema]:
    """Return the operations of a path item by their methods."""
    return {method.upper(): item[method] for method in item if method in {"get", "put", "post", "delete"}}


def _operation_ids(item: Schema) -> dict[str, str]:
    return {method: operation["operationId"] for method, operation in _operations_of(item).items()}


def _methods_of(item: Schema) -> list[str]:
    """Return the methods of a path item, HEAD if it has GET, and OPTIONS."""
    methods = _operations_of(item)
    return sorted([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])
