"""Lists of ten thousand images: the application returns what a model in plain Python expects."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
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
from tests.support.generator import PROJECTS, Document, images, spellings
from tests.support.projects import SAMPLE_PROJECT

UNKNOWN_PROJECT = "deadbeefdeadbeefdeadbeefdeadbeef"
EACH_PROJECT = (*PROJECTS, UNKNOWN_PROJECT, SAMPLE_PROJECT)
STATUSES = ("ACTIVE", "SAVING", "DELETED", "ERROR", "UNKNOWN")
TYPES = ("BASE", "SERVER", "ALL", "snapshot", "backup")
FILTERS = ("changes-since", "server", "name", "status", "type", "minRam", "minDisk")
COMBINATIONS = [*((name,) for name in FILTERS), *combinations(FILTERS, 2), FILTERS]
EARLIEST = "0001-01-01T00:00:00Z"
SECOND = timedelta(seconds=1)
BASE = "http://compute.test"
MAX_LIMIT = 1000  # images on a page, by default


class View(NamedTuple):
    """The images as one project sees them, in the order of the list, with tombstones."""

    listed: list[Document]
    markers: list[Document]
    hidden: list[Document]


Views = Mapping[str, View]


@pytest.fixture(scope="session")
def views(crowd: list[Document]) -> Views:
    return {project_id: view(reference.newest_first(crowd), project_id) for project_id in EACH_PROJECT}


def view(images: list[Document], project_id: str) -> View:
    return View(
        listed=[image for image in images if reference.is_listed(image, project_id)],
        markers=[image for image in images if reference.is_marker(image, project_id)],
        hidden=[image for image in images if not reference.is_marker(image, project_id)],
    )


def drawing(examples: int) -> settings:
    """Return settings for a number of examples, which are the same in every run."""
    return settings(max_examples=examples, deadline=None, derandomize=True)


def one_of(images: list[Document]) -> st.SearchStrategy[Document]:
    return st.integers(0, len(images) - 1).map(images.__getitem__)


def times(time: datetime) -> st.SearchStrategy[str]:
    plain = f"{time.astimezone(UTC).isoformat()[:19]}Z"
    zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    shifted = zones.map(lambda zone: time.astimezone(zone).isoformat())
    return shifted | st.sampled_from([plain, plain.lower(), plain.replace("Z", ".999Z")])


def servers(image: Document) -> st.SearchStrategy[str]:
    """Draw the server of an image: its id, or a URL that ends with it."""
    shapes = ("{}", "servers/{}", f"{BASE}/v2/openstack/servers/{{}}", "//other.test/{}", "id:{}", "/{}?of=/x#y/z")
    return st.sampled_from(shapes).map(lambda shape: shape.format(server(image)))


def no_servers(image: Document) -> st.SearchStrategy[str]:
    """Draw values that resemble the server of an image, but do not name it."""
    near = server(image)
    return st.sampled_from(["", f"{near}/", f"{near}0", f"//{near}", f"{BASE}/servers/?id={near}"])


def server(image: Document) -> str:
    return quote(reference.made_from(image) or image["id"], safe="")


def other_names(image: Document) -> st.SearchStrategy[str]:
    """Draw names that only a lax comparison would find equal to an image's."""
    name = image["name"]
    if name is None:
        return st.sampled_from(["null", "None", ""])
    return st.sampled_from([name.swapcase(), f"{name} ", f"{name[:4]}%", f"'{name}'", name.replace("0", "_")])


def types(image: Document) -> st.SearchStrategy[str]:
    return st.sampled_from([each for each in TYPES if reference.is_of_type(image, each)])


def changed(image: Document) -> datetime:
    return datetime.fromisoformat(image["updated"])


# For each filter, values that match an image, and similar values, which may match or not.
Values = Mapping[str, Callable[[Document], st.SearchStrategy[str]]]
MATCHING: Values = {
    "changes-since": lambda image: times(changed(image)) | times(changed(image) - SECOND),
    "server": servers,
    "name": lambda image: st.just(image["name"]),
    "status": lambda image: st.just(image["status"]),
    "type": types,
    "minRam": lambda image: st.just(str(image["minRam"])),
    "minDisk": lambda image: st.just(str(image["minDisk"])),
}
SIMILAR: Values = {
    "changes-since": lambda image: times(changed(image) + SECOND) | st.sampled_from([EARLIEST, "9999-12-31T23:59:59Z"]),
    "server": no_servers,
    "name": other_names,
    "status": lambda _: st.sampled_from(STATUSES),
    "minRam": lambda _: st.sampled_from(["0", "511", "512", "2147483647"]),
    "minDisk": lambda _: st.sampled_from(["0", "19", "20", "2147483647"]),
    "type": lambda _: st.sampled_from(TYPES),
}


@st.composite
def queries(draw: st.DrawFn, filters: Collection[str], view: View) -> Filters:
    """Draw values for some filters. In half of the cases, all match one image."""
    image = draw(one_of([each for each in view.listed if can_match(each, filters)]))
    if draw(st.booleans()):
        return {name: draw(MATCHING[name](image)) for name in filters}
    hidden = draw(one_of(view.hidden))
    return {name: draw(MATCHING[name](image) | SIMILAR[name](image) | SIMILAR[name](hidden)) for name in filters}


def can_match(image: Document, filters: Collection[str]) -> bool:
    nameless = "name" in filters and image["name"] is None
    serverless = "server" in filters and reference.made_from(image) is None
    return not nameless and not serverless


@st.composite
def requests(draw: st.DrawFn, views: Views) -> tuple[str, str, Filters]:
    """Draw a project, a spelling of its id, and values for any filters."""
    project_id = draw(st.sampled_from(EACH_PROJECT))
    filters = draw(st.sampled_from([(), *COMBINATIONS]))
    return project_id, draw(st.sampled_from(spellings(project_id))), draw(queries(filters, views[project_id]))


def limits(count: int) -> st.SearchStrategy[dict[str, int]]:
    """Draw limits that split a list into a few pages, sometimes evenly; or none."""
    least = max(count // 6, 1)
    even = st.sampled_from([max(count // parts, 1) for parts in (1, 2, 3)])
    limit = even | st.integers(least, count + 1) | st.sampled_from([0, MAX_LIMIT, 2_147_483_647])
    return st.just({}) | limit.map(lambda number: {"limit": number})


def address(project_id: str, **query: Any) -> str:
    return f"/v2/{project_id}/images/detail?{urlencode(query)}"


def get(client: TestClient, url: str) -> Document:
    response = client.get(url)
    assert response.status_code == 200, response.text
    return orjson.loads(response.content)  # type: ignore[no-any-return]


def follow(client: TestClient, url: str | None) -> list[Document]:
    """Get a page and all pages that follow."""
    pages = []
    while url:
        pages.append(get(client, url))
        assert len(pages) < 100, "endless pages"
        url = next((link["href"] for link in pages[-1].get("images_links", [])), None)
    return pages


def ids(listing: Iterable[Document]) -> list[str]:
    return [image["id"] for image in listing]


def shown(pages: Iterable[Document]) -> list[str]:
    return [image_id for page in pages for image_id in ids(page["images"])]


def test_generator_is_deterministic() -> None:
    assert list(images(100, seed=7)) == list(images(100, seed=7))
    assert list(images(100, seed=7)) != list(images(100, seed=8))


@pytest.mark.parametrize("project_id", EACH_PROJECT)
def test_list_without_filters_has_no_tombstones(crowded: TestClient, views: Views, project_id: str) -> None:
    expected = ids(reference.matching(views[project_id].listed, {}))
    for spelling in spellings(project_id):
        assert shown(follow(crowded, address(spelling))) == expected


@pytest.mark.parametrize("project_id", EACH_PROJECT)
@pytest.mark.parametrize("filters", COMBINATIONS, ids="+".join)
@drawing(3)
@given(data=st.data())
def test_list_has_exactly_the_images_that_match_all_filters(
    crowded: TestClient, views: Views, filters: tuple[str, ...], project_id: str, data: st.DataObject
) -> None:
    query = data.draw(queries(filters, views[project_id]))
    expected = ids(reference.matching(views[project_id].listed, query))
    limit = data.draw(limits(len(expected)))
    spelling = data.draw(st.sampled_from(spellings(project_id)))
    assert shown(follow(crowded, address(spelling, **query, **limit))) == expected


@drawing(25)
@given(data=st.data())
def test_each_page_but_the_last_is_full(crowded: TestClient, views: Views, data: st.DataObject) -> None:
    project_id, spelling, query = data.draw(requests(views))
    count = len(reference.matching(views[project_id].listed, query))
    limit = data.draw(limits(count))
    size = min(limit.get("limit") or MAX_LIMIT, MAX_LIMIT)
    full, rest = divmod(count, size)
    pages = follow(crowded, address(spelling, **query, **limit))
    assert [len(page["images"]) for page in pages] == [size] * full + [rest] * (rest > 0 or full == 0)
    assert ["images_links" in page for page in pages] == [True] * (len(pages) - 1) + [False]
    assert len(set(shown(pages))) == count


@drawing(25)
@given(data=st.data())
def test_next_link_repeats_the_query_with_the_last_image_as_marker(
    crowded: TestClient, views: Views, data: st.DataObject
) -> None:
    project_id, spelling, query = data.draw(requests(views))
    limit = data.draw(limits(len(reference.matching(views[project_id].listed, query))))
    query_items = [(name, str(value)) for name, value in {**query, **limit}.items()]
    for page in follow(crowded, address(spelling, **query, **limit))[:-1]:
        (link,) = page["images_links"]
        path, _, after = link["href"].partition("?")
        assert (link["rel"], path) == ("next", f"{BASE}/v2/{spelling}/images/detail")
        assert parse_qsl(after, keep_blank_values=True) == [*query_items, ("marker", page["images"][-1]["id"])]


@pytest.mark.parametrize("limit", [{}, {"limit": 0}, {"limit": 51}, {"limit": MAX_LIMIT}, {"limit": 2_147_483_647}])
def test_max_limit_bounds_each_page(serve: Serve, crowded_catalog: str, views: Views, limit: dict[str, int]) -> None:
    client = serve(crowded_catalog, max_limit=50)
    first = get(client, address(UNKNOWN_PROJECT, **limit))
    second = get(client, first["images_links"][0]["href"])
    expected = ids(reference.matching(views[UNKNOWN_PROJECT].listed, {}))
    assert [ids(page["images"]) for page in (first, second)] == [expected[:50], expected[50:100]]


@drawing(60)
@given(data=st.data())
def test_page_continues_after_any_visible_image(crowded: TestClient, views: Views, data: st.DataObject) -> None:
    project_id, spelling, query = data.draw(requests(views))
    listed, markers, _ = views[project_id]
    index = data.draw(st.integers(0, len(markers) - 1))
    after = set(ids(markers[index + 1 :]))
    expected = [image for image in ids(reference.matching(listed, query)) if image in after]
    page = get(crowded, address(spelling, **query, marker=markers[index]["id"], limit=20))
    assert ids(page["images"]) == expected[:20]
    assert ("images_links" in page) == (len(expected) > 20)


@drawing(30)
@given(data=st.data())
def test_page_continues_after_a_tombstone(crowded: TestClient, views: Views, data: st.DataObject) -> None:
    project_id = data.draw(st.sampled_from(EACH_PROJECT))
    listed = views[project_id].listed
    tombstone = data.draw(one_of(reference.matching(listed, {"status": "DELETED"})))
    rest = listed[listed.index(tombstone) + 1 :]
    page = get(crowded, address(project_id, marker=tombstone["id"], limit=5))
    assert ids(page["images"]) == ids(reference.matching(rest, {}))[:5]


@pytest.mark.parametrize("project_id", EACH_PROJECT)
def test_page_after_the_last_image_is_empty(crowded: TestClient, views: Views, project_id: str) -> None:
    last = reference.matching(views[project_id].listed, {})[-1]["id"]
    assert get(crowded, address(project_id, marker=last)) == {"images": []}


@drawing(40)
@given(data=st.data())
def test_invisible_marker_is_rejected(crowded: TestClient, views: Views, data: st.DataObject) -> None:
    project_id = data.draw(st.sampled_from(EACH_PROJECT))
    hidden = data.draw(one_of(views[project_id].hidden))["id"]
    marker = data.draw(st.sampled_from([hidden, hidden, UNKNOWN_PROJECT, " ", "%"]))
    response = crowded.get(address(project_id, marker=marker))
    message = f"Parameter 'marker': {marker!r} is not the id of an image that {project_id} can see."
    assert response.status_code == 400
    assert response.json() == {"badRequest": {"code": 400, "message": message}}


def test_members_see_an_image_only_while_it_is_shared(crowded: TestClient, views: Views) -> None:
    unshared = [image["id"] for image in views[SAMPLE_PROJECT].hidden if reference.is_member(image, SAMPLE_PROJECT)]
    statuses = {crowded.get(address(SAMPLE_PROJECT, marker=image)).status_code for image in unshared[:20]}
    assert statuses == {400}


@pytest.mark.parametrize("project_id", [spellings(PROJECTS[0])[-1], UNKNOWN_PROJECT, SAMPLE_PROJECT])
def test_documents_have_the_fields_of_the_file(crowded: TestClient, views: Views, project_id: str) -> None:
    pages = follow(crowded, address(project_id, **{"changes-since": EARLIEST}))
    documents = [image for page in pages for image in page["images"]]
    for document, image in zip(documents, views[project_id.lower().replace("-", "")].listed, strict=True):
        assert document == reference.document(image, project_id, BASE)


VALUES: Mapping[str, Collection[str]] = {
    "changes-since": [EARLIEST],
    "server": ["s"],
    "name": ["fakeimage7"],
    "status": STATUSES,
    "type": TYPES,
    "minRam": ["0", "512"],
    "minDisk": ["20"],
    "marker": ["76fa36fc-c930-4bf3-8c8a-ea2a2420deb6"],
}


@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(list(values)) for name, values in VALUES.items()}))
@drawing(300)
def test_any_query_of_a_small_catalog_succeeds(client: TestClient, query: dict[str, str]) -> None:
    assert client.get("/v2/openstack/images", params=query).status_code == 200
