"""A real Glance, which asks a Keystone about tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson

from tests.openstack.component import Component

_JSON = "application/json"

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
    """A Glance. It asks about a token each time, so that it knows at once of one that is revoked."""

    def __init__(self, folder: Path, credentials: dict[str, str]) -> None:
        """Install it, unless it was installed before, and prepare its folder. Raises Missing."""
        super().__init__("glance", "glance.wsgi.api:application", folder)
        pipeline = self._installed / "etc" / "glance" / "glance-api-paste.ini"
        self._configure(
            "glance-api.conf", _CONFIGURATION, pipeline=pipeline, keystone=credentials["auth_url"], **credentials
        )

    def ask(self, method: str, path: str, body: Any = None, *, token: str, kind: str = _JSON) -> httpx2.Response:
        """Ask its own API, with a token, and maybe with a body: JSON, unless it is bytes."""
        content = body if isinstance(body, bytes | None) else orjson.dumps(body)
        return self._request(method, f"/v2{path}", {"X-Auth-Token": token, "Content-Type": kind}, content=content)

    @contextmanager
    def restarted(self, page: int) -> Iterator[None]:
        """Have it give so many images on a page at most until the end of the block."""
        with self._restarted(OS_DEFAULT__API_LIMIT_MAX=str(page)):
            yield
