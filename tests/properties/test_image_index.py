"""The image index has the entries of the stored images, whatever is imported in which order."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.sqlite.database import open_reader
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.transfer import import_images
from tests.support.generator import PROJECTS as GENERATED_PROJECTS
from tests.support.images import Fields, image, stored_images
from tests.support.projects import SAMPLE_PROJECT

PROJECTS = (SAMPLE_PROJECT, *GENERATED_PROJECTS[:2])
COLUMNS = "audience, deleted, created, sort_key, changed, status_type, min_disk, min_ram, name, server"
STORED_MEMBERS = "SELECT sequence, project_id FROM image_members"
SHARED_IMAGES = "SELECT sequence, members, pending_members FROM images WHERE visibility = 'shared'"

an_image = st.builds(
    lambda number, fields: image(number, **fields),
    st.integers(1, 4),
    st.fixed_dictionaries(
        {
            "visibility": st.sampled_from(["public", "private", "shared", "community"]),
            "members": st.lists(st.sampled_from(PROJECTS)),
            "pending_members": st.lists(st.sampled_from(PROJECTS)),
            "os_hidden": st.booleans(),
            "created": st.sampled_from(["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"]),
            "updated": st.sampled_from(["2011-01-01T01:02:03Z", "2011-01-01T01:02:04Z"]),
            "name": st.sampled_from([None, "a", "b"]),
            "metadata": st.sampled_from([{}, {"image_type": "backup"}, {"image_type": None}, {"instance_uuid": "s"}]),
        },
        optional={"owner": st.sampled_from(PROJECTS)},
    ),
)
an_import = st.tuples(
    st.lists(an_image, max_size=4, unique_by=lambda each: each["id"]), st.sampled_from([None, *PROJECTS]), st.booleans()
)


@settings(deadline=None)
@given(imports=st.lists(an_import, min_size=1, max_size=4))
def test_index_and_members_are_those_of_the_images(imports: list[tuple[list[Fields], str | None, bool]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.db"
        engine = SQLiteEngine(path, batch_size=2)  # so that an import of a handful takes several batches
        for images, owner, prune in imports:
            import_images(engine, stored_images(*images), owner=owner, prune=prune, tombstone_days=30)
        with closing(open_reader(path)) as database:
            index, entries = (
                set(database.execute(f"SELECT {COLUMNS} FROM {table}").fetchall())  # noqa: S608 no user input
                for table in ("image_index", "image_index_entries")
            )
            members = set(database.execute(STORED_MEMBERS).fetchall())
            expected_members = {
                (sequence, project_id)
                for sequence, *lists in database.execute(SHARED_IMAGES).fetchall()
                for each in lists
                for project_id in orjson.loads(each)
            }
    assert index == entries
    assert members == expected_members
