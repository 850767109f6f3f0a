"""Connexion and Flask with the contract, and with validation of requests and responses."""

from typing import Any

from connexion import FlaskApp
from connexion.resolver import Resolver
from flask import Response, jsonify, request

from app.contract.document import Contract
from tests.bench.peers.rows import documents


def list_images_details(
    tenant_id: str, changes_since: str, limit: int = 1000, marker: str | None = None, **_others: Any
) -> Response:
    base = request.host_url.rstrip("/")
    since = f"{changes_since[:19]}Z"
    return jsonify({"images": documents(base, tenant_id, since, limit, marker)})


app = FlaskApp(__name__)
app.add_api(
    Contract.load(secured=False).document | {"servers": [{"url": "/"}]},
    resolver=Resolver(lambda _operation: list_images_details),
    pythonic_params=True,
    strict_validation=True,
    validate_responses=True,
)
