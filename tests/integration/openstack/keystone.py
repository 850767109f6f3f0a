"""A real Keystone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.integration.openstack.component import Component
from tests.support.images import Fields

PASSWORD = "secret"  # noqa: S105 everybody's
REGION = "RegionOne"

# What outlives no test need not be on the disk, nor be hard to guess.
_CONFIGURATION = """
[DEFAULT]
public_endpoint = {origin}
[database]
connection = sqlite:///{folder}/keystone.db
sqlite_synchronous = false
[fernet_tokens]
key_repository = {folder}/tokens
[fernet_receipts]
key_repository = {folder}/receipts
[identity]
password_hash_rounds = 4
"""


class Keystone(Component):
    """A Keystone."""

    def __init__(self, folder: Path) -> None:
        """Install it, unless it was installed before, and prepare its folder. Raises Missing."""
        super().__init__("keystone", "keystone.wsgi.api:application", folder)
        self.url = f"{self.origin}/v3"
        self._configure("keystone.conf", _CONFIGURATION)
        self._manage("fernet_setup", f"--keystone-user={os.geteuid()}", f"--keystone-group={os.getegid()}")
        endpoints = (f"--bootstrap-{interface}-url={self.url}" for interface in ("public", "internal", "admin"))
        self._manage("bootstrap", f"--bootstrap-password={PASSWORD}", f"--bootstrap-region-id={REGION}", *endpoints)

    @property
    def requests(self) -> list[str]:
        """The method and the path of each request that came."""
        return [request.partition("?")[0] for request in super().requests]

    def ask(
        self, method: str, path: str, body: Fields | None = None, *, token: str = "", subject: str = ""
    ) -> httpx2.Response:
        """Ask its own API, with a token, and maybe about another."""
        headers = {"X-Auth-Token": token, "X-Subject-Token": subject}
        return self._request(method, f"/v3{path}", headers, json=body)

    @contextmanager
    def restarted(self, token_seconds: int) -> Iterator[None]:
        """Have it give tokens of so many seconds until the end of the block."""
        with self._restarted(OS_TOKEN__EXPIRATION=str(token_seconds)):
            yield
