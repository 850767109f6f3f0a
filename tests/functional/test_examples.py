"""The examples of the contract are real: a service with the documented images sends them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema_rs
import orjson
import pytest

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from app.contract.document import Contract
from app.errors import UpstreamConflict
from app.middleware.request_body import MAX_BODY_BYTES
from app.overrides import NO_OVERRIDES, Overrides
from app.resources import resource_path
from tests.conftest import Serve
from tests.functional.test_operations import make_stale_replica, raising
from tests.support.catalogs import remove_catalog
from tests.support.images import catalog_at

DOCUMENT = jsonschema_rs.dereference(Contract.load(secured=True).document)
COMPONENTS = DOCUMENT["components"]
VALUES = {each["name"]: each["example"] for each in COMPONENTS["parameters"].values() if each.get("required")}

LISTS = "/v2/openstack/images"
IMAGE = f"{LISTS}/{VALUES['image_id']}"


class Exchange(NamedTuple):
    """A request with the examples of its parameters and its body, and an example of the response."""

    method: str
    path: str
    body: Any
    status: int
    name: str
    example: dict[str, Any]


def serve_images(serve: Serve, catalog: str, name: str, *, stale: bool = False, **settings: Any) -> Any:
    """Serve the images of an example, with the URLs in their links."""
    compute, glance = "http://openstack.example.com", "http://glance.openstack.example.com"
    if name == "failedReplication":
        compute, glance = "http://10.3.0.201", "http://10.3.0.119:9292"
    file = "failed-replication" if name == "failedReplication" else "list-images-details"
    catalog_at(catalog, *orjson.loads(resource_path(f"data/{file}.json").read_bytes())["images"])
    if stale:
        make_stale_replica(catalog)
    return serve(catalog, compute_url=compute, glance_url=glance, **settings)


def successes() -> Iterator[Any]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            body = example_of(operation.get("requestBody", {}))
            for status, response in operation["responses"].items():
                # The health of a service varies.
                if "content" in response and status < "300" and "Health" not in operation["tags"]:
                    content = response["content"]["application/json"]
                    for name, example in (content.get("examples") or {"": {"value": content["example"]}}).items():
                        exchange = Exchange(method.upper(), path, body, int(status), name, example)
                        yield pytest.param(exchange, id=f"{operation['operationId']}-{status}-{name}")


def example_of(definition: Mapping[str, Any]) -> Any:
    return definition.get("content", {}).get("application/json", {}).get("example")


@pytest.mark.parametrize("exchange", list(successes()))
def test_example_request_gets_the_example_response(serve: Serve, location: str, exchange: Exchange) -> None:
    client = serve_images(serve, location, exchange.name, stale=exchange.status == 203)
    project = "776a290892b747c4af8cec5d0e9b3a71" if exchange.name == "failedReplication" else VALUES["tenant_id"]
    query = "".join(re.findall(r"`(\?\S+)`", exchange.example.get("description", "")))
    url = exchange.path.format_map(VALUES | {"tenant_id": project}) + query
    response = client.request(exchange.method, url, json=exchange.body)
    assert (response.status_code, response.json()) == (exchange.status, exchange.example["value"])


TOO_LARGE = {"content": b" " * (MAX_BODY_BYTES + 1), "headers": {"Content-Type": "application/json"}}
FAULTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "BadRequest": ("GET", f"{LISTS}?status=queued", {}),
    "Unauthorized": ("GET", LISTS, {"headers": {"X-Auth-Token": "none"}}),
    "ProjectMismatch": ("GET", LISTS, {}),
    "Forbidden": ("DELETE", IMAGE, {}),
    "ForbiddenOrOverQuota": ("PUT", f"{IMAGE}/metadata", {"json": {"metadata": {}}}),
    "ItemNotFound": ("GET", f"{LISTS}/nothing", {}),
    "BadMethod": ("POST", LISTS, {}),
    "Conflict": ("DELETE", IMAGE, {}),
    "OverLimit": ("PUT", f"{IMAGE}/metadata", TOO_LARGE),
    "BadMediaType": ("PUT", f"{IMAGE}/metadata", {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
    "ComputeFault": ("GET", LISTS, {}),
    "ServiceUnavailable": ("GET", LISTS, {}),
}
RAISED = {"Conflict": UpstreamConflict(VALUES["image_id"]), "ComputeFault": RuntimeError()}


@pytest.mark.parametrize("name", FAULTS)
def test_example_of_a_fault_is_what_the_service_sends(serve: Serve, location: str, name: str) -> None:
    method, url, options = FAULTS[name]
    error = RAISED.get(name)
    overrides = Overrides(resolve_operation=lambda _: raising(error)) if error else NO_OVERRIDES
    client = serve_images(serve, location, "", auth="token", overrides=overrides)
    project = "776a290892b747c4af8cec5d0e9b3a71" if name == "ProjectMismatch" else VALUES["tenant_id"]
    client.headers["X-Auth-Token"] = add_token(open_catalog(location), project, is_admin=False, expires=None)
    if name == "ServiceUnavailable":
        remove_catalog(location)
    assert client.request(method, url, **options).json() == example_of(COMPONENTS["responses"][name])
