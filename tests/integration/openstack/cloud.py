"""A small cloud in Keystone: its projects, its people, and their tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2

from tests.integration.openstack.keystone import PASSWORD, REGION, Keystone
from tests.integration.server.service import until
from tests.support.images import Fields

# What is there from the start.
DEFAULT = "default"  # the domain
FIRST_PROJECT = "admin"

# What a token can be of, unless it is of its owner's project.
UNSCOPED = "unscoped"
OF_THE_DOMAIN = {"domain": {"id": DEFAULT}}
OF_THE_SYSTEM = {"system": {"all": True}}
OF_THE_FIRST_PROJECT = {"project": {"name": FIRST_PROJECT, "domain": {"id": DEFAULT}}}

_TOKENS = "/auth/tokens"


class Person(NamedTuple):
    """Somebody, with the password that everybody has."""

    name: str
    domain: str = DEFAULT


ADMIN, MEMBER, READER, STRANGER, SERVICE = map(Person, ("admin", "member", "reader", "stranger", "images"))
GLANCE = Person("glance")


def as_variables(credentials: dict[str, Any]) -> dict[str, Any]:
    """Give the variables of the environment that tell the same as some words of clouds.yaml."""
    return {f"OS_{name.upper()}": value for name, value in credentials.items()}


class Cloud:
    """Projects, and people in them.

    A member and a reader have the project `ours`, a stranger has `theirs`. In another domain, a namesake of the member
    has `elsewhere`, a namesake of `ours`. The services that ask about tokens have a project and a role of their own.
    """

    def __init__(self, keystone: Keystone) -> None:
        self._keystone = keystone
        self._token = self.token(ADMIN, OF_THE_FIRST_PROJECT)
        self._roles = {role["name"]: role["id"] for role in self._ask("GET", "/roles")["roles"]}
        (admin,) = self._ask("GET", f"/users?name={ADMIN.name}")["users"]
        self._users = {ADMIN: admin["id"]}
        self._grant("admin", ADMIN, f"/domains/{DEFAULT}")
        domain = self._create("domain", name="other")
        self.namesake = Person(MEMBER.name, domain)
        self.projects = {
            "ours": self._create("project", name="ours"),
            "theirs": self._create("project", name="theirs"),
            "elsewhere": self._create("project", name="ours", domain_id=domain),
        }
        self._join("member", MEMBER, self.projects["ours"])
        self._join("reader", READER, self.projects["ours"])
        self._join("member", STRANGER, self.projects["theirs"])
        self._join("member", self.namesake, self.projects["elsewhere"])
        services = self._create("project", name="service")
        for service in (SERVICE, GLANCE):
            self._join("service", service, services)

    def credentials(self, person: Person = SERVICE, project: str = "service") -> dict[str, Any]:
        """Tell how to be somebody in a project, in the words of clouds.yaml."""
        domains = {"user_domain_id": person.domain, "project_domain_id": person.domain}
        proof = {"username": person.name, "password": PASSWORD, "project_name": project}
        return {"auth_url": self._keystone.url} | proof | domains

    def administrator(self) -> dict[str, Any]:
        """Tell how to be the administrator in the first project, in the words of clouds.yaml."""
        return self.credentials(ADMIN, FIRST_PROJECT) | {"region_name": REGION}

    def offer(self, kind: str, url: str) -> None:
        """Tell whoever gets a token from now on where a service is, such as `image`; %(project_id)s may be in it."""
        service = self._create("service", type=kind, name=kind)
        for interface in ("public", "internal"):
            self._create("endpoint", interface=interface, region_id=REGION, service_id=service, url=url)

    def token(self, person: Person = MEMBER, scope: Fields | str | None = None) -> str:
        """Give a new token."""
        user = {"name": person.name, "domain": {"id": person.domain}, "password": PASSWORD}
        return self._token_for("password", {"user": user}, scope)

    def brief_token(self, seconds: int) -> str:
        """Give a new token of the member's that ends after so many seconds, or up to one earlier."""
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        fields = {"name": uuid4().hex, "expires_at": f"{end:%Y-%m-%dT%H:%M:%S.%fZ}"}
        path = f"/users/{self._users[MEMBER]}/application_credentials"
        made = self._ask("POST", path, {"application_credential": fields}, token=self.token())["application_credential"]
        return self._token_for("application_credential", {"id": made["id"], "secret": made["secret"]})

    def verdict(self, token: str, *, by: str | None = None) -> httpx2.Response:
        """Ask Keystone what a token is, with that of the administrator unless told."""
        return self._keystone.ask("GET", f"{_TOKENS}?nocatalog", token=by or self._token, subject=token)

    def revoke(self, token: str) -> None:
        """End a token."""
        assert self._keystone.ask("DELETE", _TOKENS, token=self._token, subject=token).status_code == 204

    def revoke_all(self, person: Person) -> None:
        """End the tokens that somebody has, and not the password, which gets new ones."""
        self._set_password(person, PASSWORD)
        until(lambda: self.verdict(self.token(person)).is_success)  # Keystone's time has no more than seconds

    @contextmanager
    def locked_out(self, person: Person) -> Iterator[None]:
        """End the tokens that somebody has, and have the password be wrong until the end of the block."""
        self._set_password(person, uuid4().hex)
        try:
            yield
        finally:
            self.revoke_all(person)

    def _token_for(self, method: str, proof: Fields, scope: Fields | str | None = None) -> str:
        auth = {"identity": {"methods": [method], method: proof}} | ({"scope": scope} if scope else {})
        answer = self._keystone.ask("POST", _TOKENS, {"auth": auth})
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def _create(self, kind: str, **fields: object) -> str:
        identity: str = self._ask("POST", f"/{kind}s", {kind: fields})[kind]["id"]
        return identity

    def _join(self, role: str, person: Person, project: str) -> None:
        fields = {"domain_id": person.domain, "password": PASSWORD, "default_project_id": project}
        self._users[person] = self._create("user", name=person.name, **fields)
        self._grant(role, person, f"/projects/{project}")

    def _grant(self, role: str, person: Person, place: str) -> None:
        self._ask("PUT", f"{place}/users/{self._users[person]}/roles/{self._roles[role]}")

    def _set_password(self, person: Person, password: str) -> None:
        self._ask("PATCH", f"/users/{self._users[person]}", {"user": {"password": password}})

    def _ask(self, method: str, path: str, body: Fields | None = None, *, token: str | None = None) -> Any:
        answer = self._keystone.ask(method, path, body, token=token or self._token)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None
