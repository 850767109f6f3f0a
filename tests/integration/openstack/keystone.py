"""A real Keystone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.integration.openstack.component import Component
from tests.support.images import Fields

PASSWORD = "secret"  # noqa: S105 of all users
REGION = "RegionOne"

# Tuned for speed: the data does not outlive the tests.
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
        """Install Keystone if need be, and prepare its folder. Raises Missing."""
        super().__init__("keystone", "keystone.wsgi.api:application", folder)
        self.url = f"{self.origin}/v3"
        self._configure("keystone.conf", _CONFIGURATION)
        self._manage("fernet_setup", f"--keystone-user={os.geteuid()}", f"--keystone-group={os.getegid()}")
        endpoints = (f"--bootstrap-{interface}-url={self.url}" for interface in ("public", "internal", "admin"))
        self._manage("bootstrap", f"--bootstrap-password={PASSWORD}", f"--bootstrap-region-id={REGION}", *endpoints)

    @property
    def requests(self) -> list[str]:
        """Return the method and path of each request."""
        return [request.partition("?")[0] for request in super().requests]

    def request(
        self, method: str, path: str, body: Fields | None = None, *, token: str = "", subject: str = ""
    ) -> httpx2.Response:
        """Send a request with a token, and maybe about another token."""
        headers = {"X-Auth-Token": token, "X-Subject-Token": subject}
        return self._request(method, f"/v3{path}", headers, json=body)

    @contextmanager
    def restarted(self, token_seconds: int) -> Iterator[None]:
        """Run Keystone with another lifetime of tokens until the end of the block."""
        with self._restarted(OS_TOKEN__EXPIRATION=str(token_seconds)):
            yield
