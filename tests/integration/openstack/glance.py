"""A real Glance, which validates tokens at a Keystone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import orjson

from tests.integration.openstack.component import Component

_JSON = "application/json"

_NOW = "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
_INSERT_IMAGE = f"""
INSERT INTO images (id, name, owner, status, visibility, min_disk, min_ram, created_at, updated_at, deleted)
VALUES (?, ?, ?, 'queued', 'private', 0, 0, {_NOW}, {_NOW}, 0)
"""  # noqa: S608 no user input
_INSERT_PROPERTY = f"""
INSERT INTO image_properties (image_id, name, value, created_at, updated_at, deleted)
VALUES (?, ?, ?, {_NOW}, {_NOW}, 0)
"""  # noqa: S608 no user input

_CONFIGURATION = """
[DEFAULT]
public_endpoint = {origin}
worker_self_reference_url = {origin}
node_staging_uri = file://{folder}/staging
image_cache_dir = {folder}/cache
enabled_import_methods = []
[database]
connection = sqlite:///{folder}/glance.db
sqlite_synchronous = false
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = {folder}/images
[paste_deploy]
flavor = keystone
config_file = {pipeline}
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = {username}
password = {password}
project_name = {project_name}
user_domain_id = {user_domain_id}
project_domain_id = {project_domain_id}
token_cache_time = -1
[oslo_concurrency]
lock_path = {folder}/locks
"""


class Glance(Component):
    """A Glance. It does not cache validations of tokens, so that a revoked token is invalid at once."""

    def __init__(self, folder: Path, credentials: dict[str, str]) -> None:
        """Install Glance if need be, and prepare its folder. Raises Missing."""
        super().__init__("glance", "glance.wsgi.api:application", folder)
        pipeline = self._installed / "etc" / "glance" / "glance-api-paste.ini"
        self._configure(
            "glance-api.conf", _CONFIGURATION, pipeline=pipeline, keystone=credentials["auth_url"], **credentials
        )

    def request(
        self, method: str, path: str, body: Any = None, *, token: str, content_type: str = _JSON
    ) -> httpx2.Response:
        """Send a request with a token. A body that is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes | None) else orjson.dumps(body)
        headers = {"X-Auth-Token": token, "Content-Type": content_type}
        return self._request(method, f"/v2{path}", headers, content=content)

    @contextmanager
    def restarted(self, page: int) -> Iterator[None]:
        """Limit the size of a page until the end of the block."""
        with self._restarted(OS_DEFAULT__API_LIMIT_MAX=str(page)):
            yield

    def execute(self, statement: str, *values: object) -> None:
        """Change the database in a way that the API does not offer."""
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute(statement, values)

    def empty(self) -> None:
        """Remove all images from the database."""
        for table in ("image_locations", "image_members", "image_properties", "image_tags", "images"):
            self.execute(f"DELETE FROM {table}")  # noqa: S608 no user input

    def purge_deleted(self) -> None:
        """Purge the records of deleted images."""
        for command in ("purge", "purge_images_table"):
            self._manage("db", command, "--age_in_days=0")

    def fill(self, owner: str, count: int, **properties: str) -> None:
        """Insert private images of a project, with some properties, into the database."""
        ids = [str(uuid4()) for _ in range(count)]
        with closing(sqlite3.connect(self.database)) as database, database:
            database.executemany(_INSERT_IMAGE, [(id_, f"image {number}", owner) for number, id_ in enumerate(ids)])
            database.executemany(_INSERT_PROPERTY, [(id_, *item) for id_ in ids for item in properties.items()])
