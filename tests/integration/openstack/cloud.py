"""The projects, users and tokens of a small cloud in Keystone."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2

from tests.integration.openstack.keystone import PASSWORD, REGION, Keystone
from tests.integration.server.service import until
from tests.support.images import Fields

# Created by Keystone's bootstrap.
DEFAULT = "default"  # domain
FIRST_PROJECT = "admin"

# Scopes of tokens; by default, a token is scoped to its user's project.
UNSCOPED = "unscoped"
OF_THE_DOMAIN = {"domain": {"id": DEFAULT}}
OF_THE_SYSTEM = {"system": {"all": True}}
OF_THE_FIRST_PROJECT = {"project": {"name": FIRST_PROJECT, "domain": {"id": DEFAULT}}}

_TOKENS = "/auth/tokens"


class User(NamedTuple):
    """A user, with the same password as all others."""

    name: str
    domain: str = DEFAULT


ADMIN, MEMBER, READER, OTHER_MEMBER, SERVICE = map(User, ("admin", "member", "reader", "other_member", "images"))
GLANCE = User("glance")


def as_variables(credentials: dict[str, Any]) -> dict[str, Any]:
    """Return the environment variables for some keys of clouds.yaml."""
    return {f"OS_{name.upper()}": value for name, value in credentials.items()}


class Cloud:
    """Projects and their users.

    A member and a reader have the project `main`, another member has `other`. The project `foreign` is in another
    domain; it has the same name as `main`, and a user with the same name as the member. The services that validate
    tokens have a project and a role of their own.
    """

    def __init__(self, keystone: Keystone) -> None:
        self._keystone = keystone
        self._token = self.token(ADMIN, OF_THE_FIRST_PROJECT)
        self._roles = {role["name"]: role["id"] for role in self._request("GET", "/roles")["roles"]}
        (admin,) = self._request("GET", f"/users?name={ADMIN.name}")["users"]
        self._users = {ADMIN: admin["id"]}
        self._grant("admin", ADMIN, f"/domains/{DEFAULT}")
        domain = self._create("domain", name="other")
        self.foreign_member = User(MEMBER.name, domain)
        self.projects = {
            "main": self._create("project", name="main"),
            "other": self._create("project", name="other"),
            "foreign": self._create("project", name="main", domain_id=domain),
        }
        self._add_user("member", MEMBER, self.projects["main"])
        self._add_user("reader", READER, self.projects["main"])
        self._add_user("member", OTHER_MEMBER, self.projects["other"])
        self._add_user("member", self.foreign_member, self.projects["foreign"])
        services = self._create("project", name="service")
        for service in (SERVICE, GLANCE):
            self._add_user("service", service, services)

    def credentials(self, user: User = SERVICE, project: str = "service") -> dict[str, Any]:
        """Return the credentials of a user for a project, with the keys of clouds.yaml."""
        domains = {"user_domain_id": user.domain, "project_domain_id": user.domain}
        login = {"username": user.name, "password": PASSWORD, "project_name": project}
        return {"auth_url": self._keystone.url} | login | domains

    def administrator(self) -> dict[str, Any]:
        """Return the admin's credentials for the first project, with the keys of clouds.yaml."""
        return self.credentials(ADMIN, FIRST_PROJECT) | {"region_name": REGION}

    def register_service(self, type_: str, url: str) -> None:
        """Add a service such as `image` to the service catalog. The URL may contain %(project_id)s."""
        service = self._create("service", type=type_, name=type_)
        for interface in ("public", "internal"):
            self._create("endpoint", interface=interface, region_id=REGION, service_id=service, url=url)

    def token(self, user: User = MEMBER, scope: Fields | str | None = None) -> str:
        """Return a new token."""
        login = {"name": user.name, "domain": {"id": user.domain}, "password": PASSWORD}
        return self._token_for("password", {"user": login}, scope)

    def short_lived_token(self, seconds: int) -> str:
        """Return a new token of the member that expires after this many seconds, or up to one earlier."""
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        fields = {"name": uuid4().hex, "expires_at": f"{end:%Y-%m-%dT%H:%M:%S.%fZ}"}
        path = f"/users/{self._users[MEMBER]}/application_credentials"
        credential = self._request("POST", path, {"application_credential": fields}, token=self.token())[
            "application_credential"
        ]
        return self._token_for("application_credential", {"id": credential["id"], "secret": credential["secret"]})

    def validate(self, token: str, *, by: str | None = None) -> httpx2.Response:
        """Return Keystone's response to the validation of a token, by the admin or with another token."""
        return self._keystone.request("GET", f"{_TOKENS}?nocatalog", token=by or self._token, subject=token)

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        assert self._keystone.request("DELETE", _TOKENS, token=self._token, subject=token).status_code == 204

    def revoke_all(self, user: User) -> None:
        """Revoke all tokens of a user. The password stays valid."""
        self._set_password(user, PASSWORD)
        until(lambda: self.validate(self.token(user)).is_success)  # revocations have a resolution of one second

    @contextmanager
    def with_wrong_password(self, user: User) -> Iterator[None]:
        """Revoke all tokens of a user, and invalidate the password until the end of the block."""
        self._set_password(user, uuid4().hex)
        try:
            yield
        finally:
            self.revoke_all(user)

    def _token_for(self, method: str, credential: Fields, scope: Fields | str | None = None) -> str:
        auth = {"identity": {"methods": [method], method: credential}} | ({"scope": scope} if scope else {})
        response = self._keystone.request("POST", _TOKENS, {"auth": auth})
        assert response.status_code == 201, response.text
        return response.headers["X-Subject-Token"]

    def _create(self, resource: str, **fields: object) -> str:
        id_: str = self._request("POST", f"/{resource}s", {resource: fields})[resource]["id"]
        return id_

    def _add_user(self, role: str, user: User, project: str) -> None:
        fields = {"domain_id": user.domain, "password": PASSWORD, "default_project_id": project}
        self._users[user] = self._create("user", name=user.name, **fields)
        self._grant(role, user, f"/projects/{project}")

    def _grant(self, role: str, user: User, target: str) -> None:
        self._request("PUT", f"{target}/users/{self._users[user]}/roles/{self._roles[role]}")

    def _set_password(self, user: User, password: str) -> None:
        self._request("PATCH", f"/users/{self._users[user]}", {"user": {"password": password}})

    def _request(self, method: str, path: str, body: Fields | None = None, *, token: str | None = None) -> Any:
        response = self._keystone.request(method, path, body, token=token or self._token)
        assert response.is_success, response.text
        return response.json() if response.content else None
