"""The contract."""

import re
from collections.abc import Iterator
from http import HTTPStatus

import jsonschema_rs
import orjson

from app.contract.operations import Operation, response_schemas
from app.contract.schemas import Schema, compile_schema
from app.contract.security import without_security
from app.resources import dump_yaml, load_yaml, resource_path


class Contract:
    """The OpenAPI document: as it is served (`yaml`, `json`), and as it is applied (`operations`, by operationId)."""

    def __init__(self, document: Schema, text: bytes | None = None) -> None:
        """Take the document, and the text that it was read from."""
        self.yaml = text or dump_yaml(document)
        self.document = document
        self.json = orjson.dumps(self.document)
        # Where several paths fit, the one that leaves least open is meant, says OpenAPI: `detail` is no image's id.
        paths = sorted(self.document["paths"].items(), key=lambda each: each[0].count("{"))
        self._methods = [(_path_pattern(path), _methods_of(item)) for path, item in paths]
        definitions = list(_operation_definitions(self.document))
        self.operations = {each["operationId"]: Operation.of(each) for each in definitions}
        # The one key of the answers that have an error's status.
        self._fault_names = {
            status: schema["required"][0]
            for each in definitions
            for status, schema in response_schemas(each)
            if status >= HTTPStatus.BAD_REQUEST
        }
        self._tenants = [pattern for pattern, _ in self._methods if "tenant_id" in pattern.groupindex]
        self._tenant = compile_schema(self.document["components"]["schemas"]["TenantId"])

    @classmethod
    def load(cls, *, secured: bool) -> "Contract":
        """Read the document that travels with the service, as it is where callers are asked for a token, or are not."""
        text = resource_path("openapi/compute-images.yaml").read_bytes()
        document = load_yaml(text)
        return cls(document, text) if secured else cls(without_security(document))

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


def _operation_definitions(document: Schema) -> Iterator[Schema]:
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
