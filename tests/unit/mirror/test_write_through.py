"""Write-through while the catalog is busy, in which case the next sync applies the change, and Glance's own ids."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.catalog.editor import ImageEditor
from app.catalog.engine import Engine
from app.catalog.models import SyncStatus
from app.catalog.transfer import export_images
from app.context import RequestContext
from app.errors import ImageNotFound
from app.mirror.mapping import to_catalog_image
from app.mirror.write_through import WriteThroughEditor
from tests.support.engines import ImpatientEngine
from tests.support.fake_glance import UPPER_CASE_IDS, FakeGlance, glance_client, glance_image
from tests.support.images import image_id
from tests.support.projects import PROJECT
from tests.support.replicas import CALLERS, create_replica, mirror_of, stored

IMAGE = glance_image(1, owner=PROJECT, a="1")
CONTEXT = RequestContext("req-1", token="token", authenticated=CALLERS["owner"])  # noqa: S106

Change = Callable[[WriteThroughEditor], object]
CHANGES: dict[str, Change] = {
    "delete": lambda editor: editor.delete(CONTEXT, PROJECT, image_id(1)),
    "edit": lambda editor: editor.edit_metadata(CONTEXT, PROJECT, image_id(1), lambda _: {"a": "x"}),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@pytest.fixture
def catalog(tmp_path: Path, glance: FakeGlance) -> Engine:
    engine = ImpatientEngine(tmp_path / "catalog.db")
    create_replica(engine, glance.url, IMAGE)
    glance.put(IMAGE)
    return engine


@pytest.fixture
def editor(catalog: Engine) -> WriteThroughEditor:
    return WriteThroughEditor(
        ImageEditor(catalog, tombstone_days=30),
        catalog,
        lambda url, token, timeout: glance_client(url, token=token, timeout=timeout),
        ValueError,
        tombstone_days=30,
    )


@each_change
def test_change_is_made_in_glance_and_applied_by_the_next_sync(
    glance: FakeGlance, catalog: Engine, editor: WriteThroughEditor, caplog: pytest.LogCaptureFixture, change: Change
) -> None:
    before = stored(catalog)
    with catalog.transaction(timeout=1):
        change(editor)
    assert stored(catalog) == before
    assert {request.token for request in glance.requests} == {"token"}
    assert glance.images.get(image_id(1)) != IMAGE
    assert f"Image {image_id(1)} was changed at the image service, but not yet in the catalog" in caplog.text
    mirror_of(glance, catalog).sync(full=True)
    if image_id(1) in glance.images:
        assert stored(catalog)[1] == to_catalog_image(glance.images[image_id(1)])
    else:
        assert stored(catalog)[1].status == "DELETED"


@pytest.mark.parametrize("upstream_id", UPPER_CASE_IDS)
def test_image_whose_id_has_upper_case_in_glance_is_changed_and_deleted(
    glance: FakeGlance, catalog: Engine, editor: WriteThroughEditor, upstream_id: str
) -> None:
    glance.put(IMAGE | {"id": upstream_id})
    mirror_of(glance, catalog).sync(full=True)
    lower = upstream_id.lower()
    assert editor.edit_metadata(CONTEXT, PROJECT, lower, lambda _: {"a": "x"}) == {"a": "x"}
    assert glance.images[upstream_id]["a"] == "x"
    editor.delete(CONTEXT, PROJECT, lower)
    assert list(glance.images) == [image_id(1)]
    assert [each.id for each in export_images(catalog, deleted=True) if each.status == "DELETED"] == [lower]


@each_change
def test_nothing_is_deleted_while_the_ids_in_glance_are_not_known(
    glance: FakeGlance, catalog: Engine, editor: WriteThroughEditor, change: Change
) -> None:
    before = stored(catalog)
    catalog.write_sync_status(SyncStatus())
    glance.remove(1)
    with pytest.raises(ImageNotFound):
        change(editor)
    assert stored(catalog) == before


@each_change
def test_image_missing_in_glance_is_not_found(
    glance: FakeGlance, catalog: Engine, editor: WriteThroughEditor, change: Change
) -> None:
    before = stored(catalog)
    glance.remove(1)
    with catalog.transaction(timeout=1), pytest.raises(ImageNotFound):
        change(editor)
    assert stored(catalog) == before
