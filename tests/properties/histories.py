"""Histories: requests to the service, and other events between them. Few distinct values, so that they interact."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from hypothesis import strategies as st

from tests.support.generator import PROJECTS
from tests.support.images import Fields, image, image_id
from tests.support.projects import SAMPLE_PROJECT

OWNERS = (*PROJECTS[:2], None)
REQUESTED_PROJECTS = (*PROJECTS[:2], SAMPLE_PROJECT)
SCHEMES = ("http", "https")
HOSTS = ("one.test", "two.test:8774")
IMAGE_COUNT = 4  # how many images there are
INTERVAL = 30  # seconds
ANONYMOUS = "anonymous"  # a caller without a token


class Write(NamedTuple):
    """An import by another process."""

    images: tuple[Fields, ...]
    owner: str | None = None
    prune: bool = False


class Change(NamedTuple):
    """A request that changes an image, if the caller may do so."""

    caller: str
    project_id: str
    number: int
    method: str
    items: dict[str, str]


class ReadRequest(NamedTuple):
    """A request that reads images."""

    caller: str
    project_id: str
    target: str
    scheme: str = "http"
    host: str = HOSTS[0]
    encoding: str = "identity"
    method: str = "GET"


class Repeat(NamedTuple):
    """All earlier requests, repeated; conditionally (If-None-Match) if `conditional`."""

    conditional: bool


class InEveryForm(NamedTuple):
    """One request for every project, scheme, host and encoding."""

    request: ReadRequest

    def requests(self) -> Iterator[ReadRequest]:
        """Yield the requests."""
        for project_id, scheme, host, encoding in product(REQUESTED_PROJECTS, SCHEMES, HOSTS, ("identity", "gzip")):
            yield self.request._replace(project_id=project_id, scheme=scheme, host=host, encoding=encoding)


class ByEveryCaller(NamedTuple):
    """One request by every caller."""

    request: ReadRequest
    callers: Sequence[str]

    def requests(self) -> Iterator[ReadRequest]:
        """Yield the requests."""
        for caller in self.callers:
            yield self.request._replace(caller=caller)


class Wait(NamedTuple):
    """The clock advances."""

    seconds: int


class Issue(NamedTuple):
    """A caller gets a new token with a lifetime in seconds. The earlier one stays valid."""

    caller: str
    lifetime: int | None


class Revoke(NamedTuple):
    """The token of a caller is revoked, in another process or in this one."""

    caller: str
    elsewhere: bool


class Reassign(NamedTuple):
    """Keystone assigns the token of a caller to another project, or to another role."""

    caller: str
    project: str | None
    is_admin: bool


class SetReachable(NamedTuple):
    """Keystone becomes reachable or unreachable."""

    reachable: bool


Step = (
    Write
    | Change
    | ReadRequest
    | Repeat
    | InEveryForm
    | ByEveryCaller
    | Wait
    | Issue
    | Revoke
    | Reassign
    | SetReachable
)


class Race(NamedTuple):
    """A request, and events that happen at one moment while it is served."""

    start: Write
    earlier: Sequence[ReadRequest]
    request: ReadRequest
    moment: str
    meanwhile: Sequence[Step]


written = st.builds(
    image,
    st.integers(1, IMAGE_COUNT),
    name=st.sampled_from(["a", "b", None]),
    status=st.sampled_from(["ACTIVE", "ACTIVE", "DELETED"]),
    visibility=st.sampled_from(["public", "private", "shared", "community"]),
    members=st.just([PROJECTS[1]]),
    # A long description makes a response large enough for compression.
    metadata=st.sampled_from([{}, {"description": "x" * 500}, {"image_type": "snapshot"}]),
) | st.builds(image, st.integers(1, IMAGE_COUNT), owner=st.sampled_from(PROJECTS[:2]), visibility=st.just("private"))
writes = st.builds(
    Write,
    st.lists(written, max_size=IMAGE_COUNT, unique_by=lambda each: each["id"]).map(tuple),
    owner=st.sampled_from(OWNERS),
    prune=st.booleans(),
)
waits = st.builds(Wait, st.sampled_from([0, INTERVAL, 2 * INTERVAL]))
repeats = st.builds(Repeat, st.booleans())
targets = st.sampled_from(
    (
        *("/detail", "/detail?limit=1", "/detail?name=a", f"/detail?marker={image_id(1)}", "/detail?limit=x"),
        *("", "?changes-since=2020-01-01T00:00:00Z", f"/{image_id(1)}", f"/{image_id(1)}/metadata"),
    )
)
methods = st.sampled_from(["GET", "GET", "HEAD"])
PLAIN = {"scheme": st.just("http"), "host": st.just(HOSTS[0]), "encoding": st.just("identity")}
ANY_FORM = {
    "scheme": st.sampled_from(SCHEMES),
    "host": st.sampled_from(HOSTS),
    "encoding": st.sampled_from(["identity", "gzip", "br", "gzip;q=0, *"]),
}


def changes(*callers: str) -> st.SearchStrategy[Change]:
    return st.builds(
        Change,
        caller=st.sampled_from(callers),
        project_id=st.sampled_from(REQUESTED_PROJECTS),
        number=st.integers(1, IMAGE_COUNT),
        method=st.sampled_from(["DELETE", "POST", "PUT"]),
        items=st.sampled_from([{}, {"a": "1"}, {"a": "2"}, {"image_type": "snapshot"}]),
    )


def events(auth: str, *callers: str) -> st.SearchStrategy[Step]:
    one = st.sampled_from(callers)
    lifetime = st.sampled_from([None, INTERVAL, 2 * INTERVAL, 3 * INTERVAL])
    issued, revoked = st.builds(Issue, one, lifetime), st.builds(Revoke, one, elsewhere=st.booleans())
    if auth == "token":
        return issued | revoked
    reassigned = st.builds(Reassign, one, st.sampled_from([None, *REQUESTED_PROJECTS]), is_admin=st.booleans())
    return issued | revoked | reassigned | st.builds(SetReachable, st.booleans())


def read_requests(*callers: str, how: Mapping[str, st.SearchStrategy[str]] = PLAIN) -> st.SearchStrategy[ReadRequest]:
    """Return a strategy of reads by some callers, with schemes, hosts and encodings from `how`."""
    projects = st.sampled_from(REQUESTED_PROJECTS)
    return st.builds(ReadRequest, st.sampled_from(callers), projects, targets, method=methods, **how)
