"""Replicas of a fake Glance, and a service of one whose callers have Keystone's tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import orjson
from httpx2 import Response
from keystoneauth1.session import Session
from starlette.testclient import TestClient

from app.auth.base import TokenInfo
from app.auth.keystone import KeystoneAuthenticator
from app.catalog.engine import Engine
from app.catalog.models import StoredImage, SyncStatus, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot
from app.catalog.transfer import export_images
from app.context import Caller
from app.mirror.client import GlanceClient
from app.mirror.cloud import GlanceClientFactory
from app.mirror.mapping import to_catalog_image
from app.mirror.sync import Mirror
from app.overrides import Overrides
from app.settings import Settings
from app.timestamps import SYSTEM_CLOCK, Clock
from tests.conftest import client_of, loaded
from tests.support.fake_glance import FakeGlance, glance_client
from tests.support.images import image_id, image_number
from tests.support.projects import OTHER_PROJECT, PROJECT, THIRD_PROJECT

CALLERS = {  # by token
    "owner": Caller(PROJECT, is_admin=False),
    "other": Caller(OTHER_PROJECT, is_admin=False),
    "admin": Caller(THIRD_PROJECT, is_admin=True),
}

Request = tuple[str, str, Any]  # the method, the path after that of the image, and the body
CHANGES: dict[str, Request] = {
    "delete": ("DELETE", "", None),
    "update": ("POST", "/metadata", {"metadata": {"a": "x"}}),
    "replace": ("PUT", "/metadata", {"metadata": {"a": "x"}}),
    "set item": ("PUT", "/metadata/a", {"meta": {"a": "x"}}),
    "delete item": ("DELETE", "/metadata/a", None),
}


class FakeKeystone:
    """A client of a Keystone that knows the tokens of the callers above."""

    url = "http://keystone.test/v3"

    def check(self) -> None:
        """Succeed."""

    def validate(self, token: str) -> TokenInfo | None:
        """Return the caller of a token, if it is valid."""
        return TokenInfo(CALLERS[token], inf) if token in CALLERS else None


def fake_client_factory() -> GlanceClientFactory:
    """Return a factory of clients that share a session without credentials, and have a short timeout."""
    session = Session()
    return lambda url, token, timeout: GlanceClient(session, url, token=token, timeout=min(timeout, 2))


@contextmanager
def running_service(
    catalog: str | Path, *, clients: GlanceClientFactory | None = None, clock: Clock = SYSTEM_CLOCK, **settings: Any
) -> Iterator[TestClient]:
    """Serve a catalog, with Keystone's tokens, to a client."""
    authenticator = KeystoneAuthenticator(loaded("keystone").token_header, FakeKeystone(), Settings(), clock=clock)
    overrides = Overrides(
        clock=clock, authenticator=authenticator, glance_client_factory=clients or fake_client_factory()
    )
    with client_of(catalog, overrides=overrides, auth="keystone", stale_after=0, **settings) as client:
        yield client


def send(  # noqa: PLR0913 the parts of a request
    client: TestClient,
    method: str = "GET",
    suffix: str = "",
    body: Any = None,
    *,
    caller: str = "owner",
    project: str | None = None,
    number: int = 1,
) -> Response:
    """Send a request for an image with a caller's token, by default in the caller's own project."""
    url = f"/v2/{project or CALLERS[caller].project_id}/images/{image_id(number)}{suffix}"
    return client.request(method, url, json=body, headers={"X-Auth-Token": caller})


def create_replica(engine: Engine, url: str, *images: Any, is_admin: bool = True) -> None:
    """Make a catalog a replica that has some of Glance's images, as after a full sync."""
    snapshot = UpstreamSnapshot(Upstream(url, is_admin), [to_catalog_image(image) for image in images])
    apply_snapshot(engine, snapshot, tombstone_days=30)
    engine.write_sync_status(SyncStatus(full_synced_at=0))


def mirror_of(
    glance: FakeGlance, engine: Engine, *, clock: Clock = SYSTEM_CLOCK, overlap_seconds: float = 60
) -> Mirror:
    """Return a mirror with admin credentials."""
    return Mirror(
        lambda: glance_client(glance.url, is_admin=True),
        engine,
        tombstone_days=30,
        sample_ids=[],
        progress=lambda pages, _: pages,
        clock=clock,
        overlap_seconds=overlap_seconds,
    )


def stored(engine: Engine) -> dict[int, StoredImage]:
    """Return the images and tombstones by number, in the order in which they were added."""
    return {image_number(image.id): image for image in export_images(engine, deleted=True)}


def metadata(engine: Engine, number: int = 1) -> Any:
    return orjson.loads(stored(engine)[number].metadata)
