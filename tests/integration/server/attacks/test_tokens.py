"""Callers with tokens, and those without: nobody is answered as the one before on a connection, or as another."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from app.catalog.tokens import add_token
from tests.integration.server.service import COMMAND, Service, run, serving
from tests.integration.server.wire import Answer, Connection, request
from tests.support.images import catalog_of, image, image_id

ME, YOU, ADMIN = "1" * 32, "2" * 32, "3" * 32
OWN = {ME: image_id(1), YOU: image_id(2)}
SECRETS = {ME: "mine", YOU: "yours"}

REFUSED = (401, "unauthorized")


class Guarded(NamedTuple):
    """A service that asks for tokens, and good ones."""

    service: Service
    tokens: dict[str, str]

    def request(self, caller: str, path: str, *headers: str) -> bytes:
        """Write a request of a caller, who may have no good token, or none."""
        token = self.tokens.get(caller, caller)
        return request(path, *([f"X-Auth-Token: {token}"] if token else []), *headers)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Run it, as lenient as it can be with parameters."""
    folder = tmp_path_factory.mktemp("guarded")
    private = [
        image(number, owner=owner, visibility="private", name=secret, metadata={"secret": secret})
        for number, (owner, secret) in enumerate(SECRETS.items(), 1)
    ]
    catalog = catalog_of(folder / "data", *private, image(3))
    tokens = {each: add_token(catalog, each, is_admin=each == ADMIN, expires=None) for each in (ME, YOU, ADMIN)}
    with serving(folder, workers=2, IMAGES_AUTH="token", IMAGES_UNKNOWN_PARAMETERS="ignore") as running:
        yield Guarded(running, tokens)


@pytest.fixture
def connection(guarded: Guarded) -> Iterator[Connection]:
    """Connect to it."""
    with Connection(guarded.service.port) as connected:
        yield connected


def told(answer: Answer) -> set[str]:
    """Tell whose secrets an answer has."""
    return {tenant for tenant, secret in SECRETS.items() if f'"{secret}"'.encode() in answer.body}


def paths(tenant: str) -> list[str]:
    """Give all that tells a tenant's secret."""
    own = f"/v2/{tenant}/images/{OWN[tenant]}"
    lists = [f"/v2/{tenant}/images", f"/v2/{tenant}/images/detail", f"/v2/{tenant}/images?name={SECRETS[tenant]}"]
    return [*lists, own, own.removeprefix("/v2"), f"{own}/metadata", f"{own}/metadata/secret"]


def deserved(caller: str, tenant: str, path: str) -> int:
    if path.startswith("//"):
        return 404
    if caller not in {ME, YOU, ADMIN}:
        return 401
    return 200 if caller in {tenant, ADMIN} else 403


def test_each_request_of_a_connection_is_its_callers_own(guarded: Guarded, connection: Connection) -> None:
    asked = [
        (caller, tenant, f"{slash}{path}")
        for tenant in (ME, YOU)
        for path in paths(tenant)
        for caller in (ME, YOU, "", ADMIN, "bad", ME, "", YOU)
        for slash in ("", "/")
    ]
    for order in (asked, asked[::-1], asked):
        connection.send(*(guarded.request(caller, path) for caller, _, path in order))
        for caller, tenant, path in order:
            answer = connection.receive()
            assert answer.status == deserved(caller, tenant, path), (caller, path)
            assert told(answer) == ({tenant} if answer.status == 200 else set()), (caller, path)


def test_what_a_client_has_already_opens_nothing(guarded: Guarded, connection: Connection) -> None:
    for path in paths(ME):
        etag = connection.ask(guarded.request(ME, path)).headers["etag"]
        for header in (f"If-None-Match: {etag}", "If-None-Match: *"):
            statuses = [connection.ask(guarded.request(each, path, header)).status for each in ("", YOU, ME, ADMIN)]
            assert statuses == [401, 403, 304, 304]


def test_a_parameter_that_is_ignored_names_no_other_tenant_and_no_other_image(
    guarded: Guarded, connection: Connection
) -> None:
    others = f"tenant_id={YOU}&tenant={YOU}&project_id={YOU}&owner={YOU}&image_id={OWN[YOU]}&id={OWN[YOU]}&key=secret"
    inner = "user=admin&token_info=1&context_=1&body=1&all_tenants=1&is_admin=true&visibility=private&is_public=none"
    for path in paths(ME):
        answer = connection.ask(guarded.request(ME, f"{path}{'&' if '?' in path else '?'}{others}&{inner}"))
        assert told(answer) == {ME}


def test_a_token_counts_in_its_header_alone(guarded: Guarded, connection: Connection) -> None:
    path, token = paths(ME)[0], guarded.tokens[ME]
    elsewhere = [
        f"X_Auth_Token: {token}",
        f"X-Auth-Token-: {token}",
        f"Authorization: Bearer {token}",
        f"X-Storage-Token: {token}",
        f"X-Subject-Token: {token}",
        f"X-Service-Token: {token}",
        f"Cookie: X-Auth-Token={token}",
        # What Keystone's own middleware tells those behind it.
        f"X-Identity-Status: Confirmed\r\nX-Project-Id: {ME}\r\nX-Tenant-Id: {ME}\r\nX-Roles: admin",
        f"X-User-Id: {ME}\r\nRemote-User: {ME}\r\nX-Is-Admin-Project: True",
    ]
    for header in elsewhere:
        assert connection.ask(request(path, header)).fault == REFUSED
        assert connection.ask(guarded.request(YOU, path, header)).fault == (403, "forbidden")
    assert connection.ask(request(f"{path}?X-Auth-Token={token}")).fault == REFUSED
    trailer = b"0\r\nX-Auth-Token: %b\r\n\r\n" % token.encode()
    assert connection.ask(request(path, "Transfer-Encoding: chunked") + trailer).fault == REFUSED
    assert told(connection.ask(request(path, f"x-auth-TOKEN: {token}"))) == {ME}


def test_a_token_is_good_whole_or_not_at_all(guarded: Guarded, connection: Connection) -> None:
    mine, yours = guarded.tokens[ME], guarded.tokens[YOU]
    (_, my_id, my_secret), (_, your_id, your_secret) = mine.split("_"), yours.split("_")
    bad = [
        f"images_{my_id}_{your_secret}",
        f"images_{your_id}_{my_secret}",
        f"images_{my_id}_",
        f"images__{my_secret}",
        f"images_{my_id}",
        my_secret,
        my_id,
        mine.upper(),
        mine[:-1],
        f"{mine}0",
        f"{mine},{mine}",
        f"{mine},{yours}",
        f"Bearer {mine}",
        f'"{mine}"',
        f"{mine};",
        f"{mine}\\n",
        f"{mine}%00",
        f"images_{my_id}_{'0' * 64}",
        f"images_{my_id}_%",
        f"images_{my_id}' OR '1'='1",
        "' OR '1'='1",
        "null",
        "*",
        "x" * 60_000,
    ]
    for token in bad:
        answer = connection.ask(guarded.request(token, paths(ME)[0]))
        assert (answer.fault, answer.headers["www-authenticate"]) == (REFUSED, 'X-Auth-Token realm="compute-images"')
    assert connection.ask(guarded.request(mine, paths(ME)[0], f"X-Auth-Token: {yours}")).fault == REFUSED
    assert told(connection.ask(guarded.request(ME, paths(ME)[0]))) == {ME}


def test_a_token_that_is_revoked_is_refused_at_once_by_all_workers(guarded: Guarded) -> None:
    service = guarded.service
    made = run(COMMAND, "token", "add", ME, folder=service.folder)
    token = made.stdout.strip()
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(service.port)) for _ in range(16)]
        for each in connections * 3:
            assert told(each.ask(guarded.request(token, paths(ME)[1]))) == {ME}
        assert run(COMMAND, "token", "revoke", token.split("_")[1], folder=service.folder).returncode == 0
        for each in connections:
            assert each.ask(guarded.request(token, paths(ME)[1])).fault == REFUSED
            assert told(each.ask(guarded.request(ME, paths(ME)[1]))) == {ME}
