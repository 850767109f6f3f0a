"""Histories: what is asked of the service, and what happens meanwhile. Few of each kind, so that they meet."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from hypothesis import strategies as st

from tests.support.generator import GUEST, TENANTS
from tests.support.images import Fields, image, image_id

OWNERS = (*TENANTS[:2], None)
TENANTS_ASKED_FOR = (*TENANTS[:2], GUEST)
SCHEMES = ("http", "https")
HOSTS = ("one.test", "two.test:8774")
SOME = 4  # images that are ever written
WHILE = 30  # seconds
NOBODY = "nobody"  # who sends no token


class Write(NamedTuple):
    """Something that another process does to the images."""

    images: tuple[Fields, ...]
    owner: str | None = None
    prune: bool = False


class Change(NamedTuple):
    """Something that a request does to an image, if it may."""

    caller: str
    tenant: str
    number: int
    method: str
    items: dict[str, str]


class Ask(NamedTuple):
    """A request that reads."""

    caller: str
    tenant: str
    target: str
    scheme: str = "http"
    host: str = HOSTS[0]
    encoding: str = "identity"
    method: str = "GET"


class Again(NamedTuple):
    """Everything that was asked before, asked again; by who has the answers already, if so."""

    knowing: bool


class InAllWays(NamedTuple):
    """One request, in all the ways that differ in nothing but whom it is for, and how it is sent."""

    ask: Ask

    def asks(self) -> Iterator[Ask]:
        """Give the ways."""
        for tenant, scheme, host, encoding in product(TENANTS_ASKED_FOR, SCHEMES, HOSTS, ("identity", "gzip")):
            yield self.ask._replace(tenant=tenant, scheme=scheme, host=host, encoding=encoding)


class ByEveryone(NamedTuple):
    """One request, by everyone."""

    ask: Ask
    callers: Sequence[str]

    def asks(self) -> Iterator[Ask]:
        """Give each one's."""
        for caller in self.callers:
            yield self.ask._replace(caller=caller)


class Pass(NamedTuple):
    """Time passes."""

    seconds: int


class Issue(NamedTuple):
    """A caller gets a new token, which lasts so many seconds; the one before stays what it is."""

    caller: str
    lasts: int | None


class Revoke(NamedTuple):
    """The token of a caller is revoked: in another process, or in this one."""

    caller: str
    elsewhere: bool


class Judge(NamedTuple):
    """Keystone has it from now on that the token of a caller is of another project, or has another role."""

    caller: str
    project: str | None
    is_admin: bool


class Reach(NamedTuple):
    """Keystone can be reached from now on, or cannot."""

    reachable: bool


Step = Write | Change | Ask | Again | InAllWays | ByEveryone | Pass | Issue | Revoke | Judge | Reach


class Race(NamedTuple):
    """A request, and what happens in the middle of it, at one of the moments."""

    start: Write
    asked: Sequence[Ask]
    ask: Ask
    moment: str
    meanwhile: Sequence[Step]


written = st.builds(
    image,
    st.integers(1, SOME),
    name=st.sampled_from(["a", "b", None]),
    status=st.sampled_from(["ACTIVE", "ACTIVE", "DELETED"]),
    visibility=st.sampled_from(["public", "private", "shared", "community"]),
    members=st.just([TENANTS[1]]),
    # Those with much to say make answers that are worth compressing.
    metadata=st.sampled_from([{}, {"description": "x" * 500}, {"image_type": "snapshot"}]),
) | st.builds(image, st.integers(1, SOME), owner=st.sampled_from(TENANTS[:2]), visibility=st.just("private"))
writes = st.builds(
    Write,
    st.lists(written, max_size=SOME, unique_by=lambda each: each["id"]).map(tuple),
    owner=st.sampled_from(OWNERS),
    prune=st.booleans(),
)
passing = st.builds(Pass, st.sampled_from([0, WHILE, 2 * WHILE]))
again = st.builds(Again, st.booleans())
targets = st.sampled_from(
    (
        *("/detail", "/detail?limit=1", "/detail?name=a", f"/detail?marker={image_id(1)}", "/detail?limit=x"),
        *("", "?changes-since=2020-01-01T00:00:00Z", f"/{image_id(1)}", f"/{image_id(1)}/metadata"),
    )
)
methods = st.sampled_from(["GET", "GET", "HEAD"])
PLAINLY = {"scheme": st.just("http"), "host": st.just(HOSTS[0]), "encoding": st.just("identity")}
IN_ANY_WAY = {
    "scheme": st.sampled_from(SCHEMES),
    "host": st.sampled_from(HOSTS),
    "encoding": st.sampled_from(["identity", "gzip", "br", "gzip;q=0, *"]),
}


def changes(*callers: str) -> st.SearchStrategy[Change]:
    """Draw changes by some callers."""
    return st.builds(
        Change,
        caller=st.sampled_from(callers),
        tenant=st.sampled_from(TENANTS_ASKED_FOR),
        number=st.integers(1, SOME),
        method=st.sampled_from(["DELETE", "POST", "PUT"]),
        items=st.sampled_from([{}, {"a": "1"}, {"a": "2"}, {"image_type": "snapshot"}]),
    )


def events(auth: str, *callers: str) -> st.SearchStrategy[Step]:
    """Draw what can happen to the tokens of some callers."""
    one = st.sampled_from(callers)
    lasts = st.sampled_from([None, WHILE, 2 * WHILE, 3 * WHILE])
    issued, revoked = st.builds(Issue, one, lasts), st.builds(Revoke, one, elsewhere=st.booleans())
    if auth == "token":
        return issued | revoked
    judged = st.builds(Judge, one, st.sampled_from([None, *TENANTS_ASKED_FOR]), is_admin=st.booleans())
    return issued | revoked | judged | st.builds(Reach, st.booleans())


def asks(*callers: str, how: Mapping[str, st.SearchStrategy[str]] = PLAINLY) -> st.SearchStrategy[Ask]:
    """Draw reads by some callers, sent in one of some ways."""
    tenants = st.sampled_from(TENANTS_ASKED_FOR)
    return st.builds(Ask, st.sampled_from(callers), tenants, targets, method=methods, **how)
