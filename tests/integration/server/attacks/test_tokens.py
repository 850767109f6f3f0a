"""Authentication: each request of a connection is authorized by its own token only."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from tests.integration.server.service import COMMAND, Service, run, serving
from tests.integration.server.wire import Connection, Response, request
from tests.support.images import catalog_of, image, image_id

ME, YOU, ADMIN = "1" * 32, "2" * 32, "3" * 32
OWN = {ME: image_id(1), YOU: image_id(2)}
SECRETS = {ME: "mine", YOU: "yours"}

UNAUTHORIZED = (401, "unauthorized")


class Guarded(NamedTuple):
    """A service with authentication, and valid tokens."""

    service: Service
    tokens: dict[str, str]

    def request(self, caller: str, path: str, *headers: str) -> bytes:
        """Build a request of a caller: a project with a token, or any text as token."""
        token = self.tokens.get(caller, caller)
        return request(path, *([f"X-Auth-Token: {token}"] if token else []), *headers)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Run the service, which ignores unknown parameters."""
    folder = tmp_path_factory.mktemp("guarded")
    private = [
        image(number, owner=owner, visibility="private", name=secret, metadata={"secret": secret})
        for number, (owner, secret) in enumerate(SECRETS.items(), 1)
    ]
    catalog = catalog_of(folder / "data", *private, image(3))
    tokens = {
        each: add_token(open_catalog(catalog), each, is_admin=each == ADMIN, expires=None) for each in (ME, YOU, ADMIN)
    }
    with serving(folder, workers=2, IMAGES_AUTH="token", IMAGES_UNKNOWN_PARAMETERS="ignore") as running:
        yield Guarded(running, tokens)


@pytest.fixture
def connection(guarded: Guarded) -> Iterator[Connection]:
    with Connection(guarded.service.port) as connected:
        yield connected


def secrets_in(response: Response) -> set[str]:
    """Return the projects whose secrets are in a response."""
    return {project for project, secret in SECRETS.items() if f'"{secret}"'.encode() in response.body}


def paths(project: str) -> list[str]:
    """Return all paths whose responses contain a project's secret."""
    own = f"/v2/{project}/images/{OWN[project]}"
    lists = [f"/v2/{project}/images", f"/v2/{project}/images/detail", f"/v2/{project}/images?name={SECRETS[project]}"]
    return [*lists, own, own.removeprefix("/v2"), f"{own}/metadata", f"{own}/metadata/secret"]


def expected_status(caller: str, project: str, path: str) -> int:
    if path.startswith("//"):
        return 404
    if caller not in {ME, YOU, ADMIN}:
        return 401
    return 200 if caller in {project, ADMIN} else 403


def test_each_request_of_a_connection_is_authorized_separately(guarded: Guarded, connection: Connection) -> None:
    calls = [
        (caller, project, f"{slash}{path}")
        for project in (ME, YOU)
        for path in paths(project)
        for caller in (ME, YOU, "", ADMIN, "bad", ME, "", YOU)
        for slash in ("", "/")
    ]
    for order in (calls, calls[::-1], calls):
        connection.send(*(guarded.request(caller, path) for caller, _, path in order))
        for caller, project, path in order:
            response = connection.receive()
            assert response.status == expected_status(caller, project, path), (caller, path)
            assert secrets_in(response) == ({project} if response.status == 200 else set()), (caller, path)


def test_etag_does_not_bypass_authentication(guarded: Guarded, connection: Connection) -> None:
    for path in paths(ME):
        etag = connection.fetch(guarded.request(ME, path)).headers["etag"]
        for header in (f"If-None-Match: {etag}", "If-None-Match: *"):
            statuses = [connection.fetch(guarded.request(each, path, header)).status for each in ("", YOU, ME, ADMIN)]
            assert statuses == [401, 403, 304, 304]


def test_ignored_parameters_do_not_select_another_project_or_image(guarded: Guarded, connection: Connection) -> None:
    others = f"tenant_id={YOU}&tenant={YOU}&project_id={YOU}&owner={YOU}&image_id={OWN[YOU]}&id={OWN[YOU]}&key=secret"
    inner = "user=admin&token_info=1&context_=1&body=1&all_tenants=1&is_admin=true&visibility=private&is_public=none"
    for path in paths(ME):
        response = connection.fetch(guarded.request(ME, f"{path}{'&' if '?' in path else '?'}{others}&{inner}"))
        assert secrets_in(response) == {ME}


def test_token_is_accepted_in_its_header_only(guarded: Guarded, connection: Connection) -> None:
    path, token = paths(ME)[0], guarded.tokens[ME]
    elsewhere = [
        f"X_Auth_Token: {token}",
        f"X-Auth-Token-: {token}",
        f"Authorization: Bearer {token}",
        f"X-Storage-Token: {token}",
        f"X-Subject-Token: {token}",
        f"X-Service-Token: {token}",
        f"Cookie: X-Auth-Token={token}",
        # Headers that keystonemiddleware sets for the application behind it.
        f"X-Identity-Status: Confirmed\r\nX-Project-Id: {ME}\r\nX-Tenant-Id: {ME}\r\nX-Roles: admin",
        f"X-User-Id: {ME}\r\nRemote-User: {ME}\r\nX-Is-Admin-Project: True",
    ]
    for header in elsewhere:
        assert connection.fetch(request(path, header)).fault == UNAUTHORIZED
        assert connection.fetch(guarded.request(YOU, path, header)).fault == (403, "forbidden")
    assert connection.fetch(request(f"{path}?X-Auth-Token={token}")).fault == UNAUTHORIZED
    trailer = b"0\r\nX-Auth-Token: %b\r\n\r\n" % token.encode()
    assert connection.fetch(request(path, "Transfer-Encoding: chunked") + trailer).fault == UNAUTHORIZED
    assert secrets_in(connection.fetch(request(path, f"x-auth-TOKEN: {token}"))) == {ME}


def test_altered_token_is_rejected(guarded: Guarded, connection: Connection) -> None:
    mine, yours = guarded.tokens[ME], guarded.tokens[YOU]
    (_, my_id, my_secret), (_, your_id, your_secret) = mine.split("_"), yours.split("_")
    invalid = [
        *(f"images_{my_id}_{your_secret}", f"images_{your_id}_{my_secret}", f"images_{my_id}_", f"images__{my_secret}"),
        *(f"images_{my_id}", my_secret, my_id, mine.upper(), mine[:-1], f"{mine}0", f"{mine},{mine}"),
        *(f"{mine},{yours}", f"Bearer {mine}", f'"{mine}"', f"{mine};", f"{mine}\\n", f"{mine}%00"),
        *(f"images_{my_id}_{'0' * 64}", f"images_{my_id}_%", f"images_{my_id}' OR '1'='1", "' OR '1'='1", "null", "*"),
        "x" * 60_000,
    ]
    for token in invalid:
        response = connection.fetch(guarded.request(token, paths(ME)[0]))
        assert (response.fault, response.headers["www-authenticate"]) == (
            UNAUTHORIZED,
            'X-Auth-Token realm="compute-images"',
        )
    assert connection.fetch(guarded.request(mine, paths(ME)[0], f"X-Auth-Token: {yours}")).fault == UNAUTHORIZED
    assert secrets_in(connection.fetch(guarded.request(ME, paths(ME)[0]))) == {ME}


def test_revoked_token_is_rejected_by_all_workers_at_once(guarded: Guarded) -> None:
    service = guarded.service
    added = run(COMMAND, "token", "add", ME, folder=service.folder)
    token = added.stdout.strip()
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(service.port)) for _ in range(16)]
        for each in connections * 3:
            assert secrets_in(each.fetch(guarded.request(token, paths(ME)[1]))) == {ME}
        assert run(COMMAND, "token", "revoke", token.split("_")[1], folder=service.folder).returncode == 0
        for each in connections:
            assert each.fetch(guarded.request(token, paths(ME)[1])).fault == UNAUTHORIZED
            assert secrets_in(each.fetch(guarded.request(ME, paths(ME)[1]))) == {ME}
