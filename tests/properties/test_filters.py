"""Lists of ten thousand images, found through the whole application and found again in plain Python."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.conftest import Serve
from tests.properties import reference
from tests.properties.reference import Filters
from tests.support.generator import GUEST, TENANTS, Document, images, spellings

STRANGER = "deadbeefdeadbeefdeadbeefdeadbeef"
EVERYONE = (*TENANTS, STRANGER, GUEST)
STATUSES = ("ACTIVE", "SAVING", "DELETED", "ERROR", "UNKNOWN")
TYPES = ("BASE", "SERVER", "ALL", "snapshot", "backup")
FILTERS = ("changes-since", "server", "name", "status", "type", "minRam", "minDisk")
COMBINATIONS = [*((name,) for name in FILTERS), *combinations(FILTERS, 2), FILTERS]
EVER = "0001-01-01T00:00:00Z"
SECOND = timedelta(seconds=1)
BASE = "http://compute.test"
MOST = 1000  # images on a page, with the settings as they come


class View(NamedTuple):
    """The images as one tenant sees them, in the order of the answer, tombstones included."""

    listed: list[Document]
    markers: list[Document]
    hidden: list[Document]


Views = Mapping[str, View]


@pytest.fixture(scope="session")
def views(crowd: list[Document]) -> Views:
    """Sort the images by what each tenant sees of them."""
    return {tenant: view(reference.newest_first(crowd), tenant) for tenant in EVERYONE}


def view(images: list[Document], tenant: str) -> View:
    return View(
        listed=[image for image in images if reference.is_listed(image, tenant)],
        markers=[image for image in images if reference.is_marker(image, tenant)],
        hidden=[image for image in images if not reference.is_marker(image, tenant)],
    )


def drawing(examples: int) -> settings:
    """Let Hypothesis draw that many examples, the same ones in every run."""
    return settings(max_examples=examples, deadline=None, derandomize=True)


def one_of(records: list[Document]) -> st.SearchStrategy[Document]:
    return st.integers(0, len(records) - 1).map(records.__getitem__)


def times(time: datetime) -> st.SearchStrategy[str]:
    """Draw spellings of a time."""
    plain = f"{time.astimezone(UTC).isoformat()[:19]}Z"
    zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    shifted = zones.map(lambda zone: time.astimezone(zone).isoformat())
    return shifted | st.sampled_from([plain, plain.lower(), plain.replace("Z", ".999Z")])


def servers(image: Document) -> st.SearchStrategy[str]:
    """Draw the server of an image as its bare id, or as the end of a URL."""
    shapes = ("{}", "servers/{}", f"{BASE}/v2/openstack/servers/{{}}", "//other.test/{}", "id:{}", "/{}?of=/x#y/z")
    return st.sampled_from(shapes).map(lambda shape: shape.format(server(image)))


def no_servers(image: Document) -> st.SearchStrategy[str]:
    """Draw what names no server, though it looks as if it did."""
    near = server(image)
    return st.sampled_from(["", f"{near}/", f"{near}0", f"//{near}", f"{BASE}/servers/?id={near}"])


def server(image: Document) -> str:
    return quote(reference.made_from(image) or image["id"], safe="")


def other_names(image: Document) -> st.SearchStrategy[str]:
    """Draw names that are an image's own only to whoever is lax about text."""
    name = image["name"]
    if name is None:
        return st.sampled_from(["null", "None", ""])
    return st.sampled_from([name.swapcase(), f"{name} ", f"{name[:4]}%", f"'{name}'", name.replace("0", "_")])


def types(image: Document) -> st.SearchStrategy[str]:
    return st.sampled_from([each for each in TYPES if reference.is_of_type(image, each)])


def changed(image: Document) -> datetime:
    return datetime.fromisoformat(image["updated"])


# For each filter, values that an image meets, and values close to them that it may meet or not.
Values = Mapping[str, Callable[[Document], st.SearchStrategy[str]]]
MET: Values = {
    "changes-since": lambda image: times(changed(image)) | times(changed(image) - SECOND),
    "server": servers,
    "name": lambda image: st.just(image["name"]),
    "status": lambda image: st.just(image["status"]),
    "type": types,
    "minRam": lambda image: st.just(str(image["minRam"])),
    "minDisk": lambda image: st.just(str(image["minDisk"])),
}
CLOSE: Values = {
    "changes-since": lambda image: times(changed(image) + SECOND) | st.sampled_from([EVER, "9999-12-31T23:59:59Z"]),
    "server": no_servers,
    "name": other_names,
    "status": lambda _: st.sampled_from(STATUSES),
    "minRam": lambda _: st.sampled_from(["0", "511", "512", "2147483647"]),
    "minDisk": lambda _: st.sampled_from(["0", "19", "20", "2147483647"]),
    "type": lambda _: st.sampled_from(TYPES),
}


@st.composite
def queries(draw: st.DrawFn, filters: Collection[str], view: View) -> Filters:
    """Draw values for some filters: half the time those of one image, so that something is found."""
    image = draw(one_of([each for each in view.listed if can_meet(each, filters)]))
    if draw(st.booleans()):
        return {name: draw(MET[name](image)) for name in filters}
    hidden = draw(one_of(view.hidden))
    return {name: draw(MET[name](image) | CLOSE[name](image) | CLOSE[name](hidden)) for name in filters}


def can_meet(image: Document, filters: Collection[str]) -> bool:
    nameless = "name" in filters and image["name"] is None
    serverless = "server" in filters and reference.made_from(image) is None
    return not nameless and not serverless


@st.composite
def requests(draw: st.DrawFn, views: Views) -> tuple[str, str, Filters]:
    """Draw a tenant, a spelling of it, and a query of any filters."""
    tenant = draw(st.sampled_from(EVERYONE))
    filters = draw(st.sampled_from([(), *COMBINATIONS]))
    return tenant, draw(st.sampled_from(spellings(tenant))), draw(queries(filters, views[tenant]))


def limits(count: int) -> st.SearchStrategy[dict[str, int]]:
    """Draw limits that cut a list of so many images into a few pages, evenly too; or none."""
    least = max(count // 6, 1)
    even = st.sampled_from([max(count // parts, 1) for parts in (1, 2, 3)])
    limit = even | st.integers(least, count + 1) | st.sampled_from([0, MOST, 2_147_483_647])
    return st.just({}) | limit.map(lambda number: {"limit": number})


def address(tenant: str, **query: Any) -> str:
    return f"/v2/{tenant}/images/detail?{urlencode(query)}"


def get(client: TestClient, url: str) -> Document:
    response = client.get(url)
    assert response.status_code == 200, response.text
    return orjson.loads(response.content)  # type: ignore[no-any-return]


def follow(client: TestClient, url: str | None) -> list[Document]:
    """Get a page and all that follow it."""
    pages = []
    while url:
        pages.append(get(client, url))
        assert len(pages) < 100, "the pages do not end"
        url = next((link["href"] for link in pages[-1].get("images_links", [])), None)
    return pages


def ids(listing: Iterable[Document]) -> list[str]:
    return [image["id"] for image in listing]


def shown(pages: Iterable[Document]) -> list[str]:
    return [image_id for page in pages for image_id in ids(page["images"])]


def test_the_same_seed_makes_the_same_images() -> None:
    assert list(images(100, seed=7)) == list(images(100, seed=7))
    assert list(images(100, seed=7)) != list(images(100, seed=8))


@pytest.mark.parametrize("tenant", EVERYONE)
def test_without_a_filter_all_but_tombstones_are_listed(crowded: TestClient, views: Views, tenant: str) -> None:
    expected = ids(reference.matching(views[tenant].listed, {}))
    for spelling in spellings(tenant):
        assert shown(follow(crowded, address(spelling))) == expected


@pytest.mark.parametrize("tenant", EVERYONE)
@pytest.mark.parametrize("filters", COMBINATIONS, ids="+".join)
@drawing(3)
@given(data=st.data())
def test_filters_find_exactly_what_meets_them_all(
    crowded: TestClient, views: Views, filters: tuple[str, ...], tenant: str, data: st.DataObject
) -> None:
    query = data.draw(queries(filters, views[tenant]))
    expected = ids(reference.matching(views[tenant].listed, query))
    limit = data.draw(limits(len(expected)))
    spelling = data.draw(st.sampled_from(spellings(tenant)))
    assert shown(follow(crowded, address(spelling, **query, **limit))) == expected


@drawing(25)
@given(data=st.data())
def test_every_page_but_the_last_is_full(crowded: TestClient, views: Views, data: st.DataObject) -> None:
    tenant, spelling, query = data.draw(requests(views))
    count = len(reference.matching(views[tenant].listed, query))
    limit = data.draw(limits(count))
    size = min(limit.get("limit") or MOST, MOST)
    full, rest = divmod(count, size)
    pages = follow(crowded, address(spelling, **query, **limit))
    assert [len(page["images"]) for page in pages] == [size] * full + [rest] * (rest > 0 or full == 0)
    assert ["images_links" in page for page in pages] == [True] * (len(pages) - 1) + [False]
    assert len(set(shown(pages))) == count


@drawing(25)
@given(data=st.data())
def test_the_next_link_is_the_same_request_after_the_last_image(
    crowded: TestClient, views: Views, data: st.DataObject
) -> None:
    tenant, spelling, query = data.draw(requests(views))
    limit = data.draw(limits(len(reference.matching(views[tenant].listed, query))))
    asked = [(name, str(value)) for name, value in {**query, **limit}.items()]
    for page in follow(crowded, address(spelling, **query, **limit))[:-1]:
        (link,) = page["images_links"]
        path, _, after = link["href"].partition("?")
        assert (link["rel"], path) == ("next", f"{BASE}/v2/{spelling}/images/detail")
        assert parse_qsl(after, keep_blank_values=True) == [*asked, ("marker", page["images"][-1]["id"])]


@pytest.mark.parametrize("limit", [{}, {"limit": 0}, {"limit": 51}, {"limit": MOST}, {"limit": 2_147_483_647}])
def test_no_page_is_longer_than_the_bound(
    serve: Serve, crowded_catalog: Path, views: Views, limit: dict[str, int]
) -> None:
    client = serve(crowded_catalog, max_limit=50)
    first = get(client, address(STRANGER, **limit))
    second = get(client, first["images_links"][0]["href"])
    expected = ids(reference.matching(views[STRANGER].listed, {}))
    assert [ids(page["images"]) for page in (first, second)] == [expected[:50], expected[50:100]]


@drawing(60)
@given(data=st.data())
def test_a_page_starts_after_any_image_that_the_tenant_can_see(
    crowded: TestClient, views: Views, data: st.DataObject
) -> None:
    tenant, spelling, query = data.draw(requests(views))
    listed, markers, _ = views[tenant]
    place = data.draw(st.integers(0, len(markers) - 1))
    after = set(ids(markers[place + 1 :]))
    expected = [image for image in ids(reference.matching(listed, query)) if image in after]
    page = get(crowded, address(spelling, **query, marker=markers[place]["id"], limit=20))
    assert ids(page["images"]) == expected[:20]
    assert ("images_links" in page) == (len(expected) > 20)


@drawing(30)
@given(data=st.data())
def test_a_page_starts_after_a_tombstone_as_if_it_were_listed(
    crowded: TestClient, views: Views, data: st.DataObject
) -> None:
    tenant = data.draw(st.sampled_from(EVERYONE))
    listed = views[tenant].listed
    tombstone = data.draw(one_of(reference.matching(listed, {"status": "DELETED"})))
    rest = listed[listed.index(tombstone) + 1 :]
    page = get(crowded, address(tenant, marker=tombstone["id"], limit=5))
    assert ids(page["images"]) == ids(reference.matching(rest, {}))[:5]


@pytest.mark.parametrize("tenant", EVERYONE)
def test_nothing_follows_the_last_image(crowded: TestClient, views: Views, tenant: str) -> None:
    last = reference.matching(views[tenant].listed, {})[-1]["id"]
    assert get(crowded, address(tenant, marker=last)) == {"images": []}


@drawing(40)
@given(data=st.data())
def test_a_marker_that_the_tenant_cannot_see_is_refused(crowded: TestClient, views: Views, data: st.DataObject) -> None:
    tenant = data.draw(st.sampled_from(EVERYONE))
    hidden = data.draw(one_of(views[tenant].hidden))["id"]
    marker = data.draw(st.sampled_from([hidden, hidden, STRANGER, "", "%"]))
    response = crowded.get(address(tenant, marker=marker))
    message = f"Parameter 'marker': {marker!r} is not the id of an image that {tenant} can see."
    assert response.status_code == 400
    assert response.json() == {"badRequest": {"code": 400, "message": message}}


def test_members_see_an_image_only_while_it_is_shared(crowded: TestClient, views: Views) -> None:
    unshared = [image["id"] for image in views[GUEST].hidden if reference.is_member(image, GUEST)]
    answers = {crowded.get(address(GUEST, marker=image)).status_code for image in unshared[:20]}
    assert answers == {400}


@pytest.mark.parametrize("tenant", [spellings(TENANTS[0])[-1], STRANGER, GUEST])
def test_documents_show_what_the_file_says(crowded: TestClient, views: Views, tenant: str) -> None:
    pages = follow(crowded, address(tenant, **{"changes-since": EVER}))
    documents = [image for page in pages for image in page["images"]]
    for document, image in zip(documents, views[tenant.lower().replace("-", "")].listed, strict=True):
        assert document == reference.document(image, tenant, BASE)


SOME: Mapping[str, Collection[str]] = {
    "changes-since": [EVER],
    "server": ["s"],
    "name": ["fakeimage7"],
    "status": STATUSES,
    "type": TYPES,
    "minRam": ["0", "512"],
    "minDisk": ["20"],
    "marker": ["76fa36fc-c930-4bf3-8c8a-ea2a2420deb6"],
}


@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(list(values)) for name, values in SOME.items()}))
@drawing(300)
def test_whatever_is_asked_of_a_catalog_that_lacks_most_of_it(client: TestClient, query: dict[str, str]) -> None:
    assert client.get("/v2/openstack/images", params=query).status_code == 200
