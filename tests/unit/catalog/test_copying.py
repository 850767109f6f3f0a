"""Copies of catalogs, from any engine to any other."""

from dataclasses import replace
from typing import NamedTuple

import pytest

from app.catalog.copying import copy_catalog
from app.catalog.engine import Engine
from app.catalog.models import Record, SyncMark, Token, Upstream
from app.catalog.tokens import add_token
from tests.support.catalogs import add_images, listed
from tests.support.clock import FakeClock
from tests.support.images import image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.unit.catalog.conftest import OpenCatalog
from tests.unit.catalog.replicas import Replica, stored_image


class Contents(NamedTuple):
    """Everything that a catalog contains."""

    records: list[Record]
    tokens: list[tuple[Token, bytes]]
    upstream: Upstream | None


def contents(engine: Engine) -> Contents:
    with engine.open_snapshot() as snapshot:
        return Contents(list(snapshot.records()), list(snapshot.tokens().items()), snapshot.upstream())


def copy(source: Engine, target: Engine) -> Engine:
    with source.open_snapshot() as snapshot, target.transaction(timeout=1) as transaction:
        copy_catalog(snapshot, transaction)
    return target


@pytest.fixture
def imported(engine: Engine) -> Engine:
    """Return a catalog whose images did not come in the order of their ids, with every kind of image and token."""
    private = {"visibility": "private", "owner": PROJECT}
    shared = {"visibility": "shared", "owner": PROJECT, "members": [OTHER_PROJECT], "pending_members": ["b" * 32]}
    deleted = image(4, status="DELETED", progress=0, metadata={"image_type": "snapshot", "instance_uuid": "s"})
    add_images(
        engine,
        image(3, name="\N{SNOWMAN}", **private),
        image(1, **{"OS-EXT-IMG-SIZE:size": 2**40}),
        deleted,
        image(2, **shared),
    )
    for is_admin, expires in ((True, None), (False, "2030-01-01T00:00:00Z")):
        add_token(engine, PROJECT, is_admin=is_admin, expires=expires)
    return engine


@pytest.mark.parametrize("is_empty", [True, False])
def test_copy_has_everything_in_the_same_order(imported: Engine, open_catalog: OpenCatalog, is_empty: bool) -> None:
    other = open_catalog("other")
    if not is_empty:
        add_images(other, image(1, name="replaced", owner=OTHER_PROJECT), image(9))
        add_token(other, OTHER_PROJECT, is_admin=True, expires=None)
        with other.transaction(timeout=1) as transaction:
            transaction.set_upstream(Upstream("http://glance.test", is_admin=True))
    copy(imported, other)
    assert contents(other) == contents(imported)
    assert [listed(other, project) for project in (PROJECT, OTHER_PROJECT)] == [[3, 1, 2], [1, 2]]
    assert list(other.check()) == []


def test_copy_of_a_replica_keeps_marks_and_the_times_of_tombstones(
    replica: Replica, clock: FakeClock, open_catalog: OpenCatalog
) -> None:
    replica.sync(image(1), image(2))
    with replica.engine.transaction(timeout=1) as transaction:
        hidden = replace(stored_image(3), visibility="community", hidden=True)
        transaction.upsert_images([hidden], mark=SyncMark(5, 2))
    replica.sync(image(1))
    other = copy(replica.engine, open_catalog("other"))
    assert contents(other) == contents(replica.engine)
    marks = [(record.deleted_at, record.mark.revision) for record in contents(other).records]
    assert marks == [(None, 1), (clock.now(), 2), (None, 2)]
    with other.transaction(timeout=1) as transaction:
        transaction.purge_tombstones(clock.now())
    assert [record.image.id for record in contents(other).records] == [image_id(1), image_id(3)]
