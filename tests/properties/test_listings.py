"""However images come into the catalog and change there, each is listed for those who have it in their list."""

from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.sqlite.database import open_reader
from app.catalog.transfer import import_images
from tests.support.images import Fields, image, records_of

TENANTS = ("openstack", "776a290892b747c4af8cec5d0e9b3a71", "0b5e2c7d94f14c1e8a6f3d2b1c0e9f88")
COLUMNS = "audience, deleted, created, rank, changed, kind, min_disk, min_ram, name, server"

an_image = st.builds(
    lambda number, fields: image(number, **fields),
    st.integers(1, 4),
    st.fixed_dictionaries(
        {
            "visibility": st.sampled_from(["public", "private", "shared", "community"]),
            "members": st.lists(st.sampled_from(TENANTS)),
            "created": st.sampled_from(["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"]),
            "updated": st.sampled_from(["2011-01-01T01:02:03Z", "2011-01-01T01:02:04Z"]),
            "name": st.sampled_from([None, "a", "b"]),
            "metadata": st.sampled_from([{}, {"image_type": "backup"}, {"image_type": None}, {"instance_uuid": "s"}]),
        },
        optional={"owner": st.sampled_from(TENANTS)},
    ),
)
an_import = st.tuples(
    st.lists(an_image, max_size=4, unique_by=lambda each: each["id"]), st.sampled_from([None, *TENANTS]), st.booleans()
)


@pytest.fixture(scope="module", autouse=True)
def _few_at_once() -> Iterator[None]:
    """Let a load of a handful take more than one turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("app.catalog.sqlite.writer"), "_BATCH_SIZE", 2)
        yield


@settings(deadline=None)
@given(imports=st.lists(an_import, min_size=1, max_size=4))
def test_listings_are_those_of_the_images_as_they_are(imports: list[tuple[list[Fields], str | None, bool]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.db"
        for images, owner, prune in imports:
            import_images(path, records_of(*images), owner=owner, prune=prune)
        with closing(open_reader(path)) as database:
            listed, visible = (
                set(database.execute(f"SELECT {COLUMNS} FROM {table}").fetchall())  # noqa: S608
                for table in ("listings", "visible")
            )
    assert listed == visible
