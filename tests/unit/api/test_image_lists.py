"""Lists that are joined from parts."""

import pytest

from app.api.image_lists import image_lists
from app.api.links import LinkBuilder
from app.catalog.image_parts import Page
from app.contract.document import Contract
from app.errors import InvalidResponse

LISTS = image_lists(Contract.load(secured=False), max_bytes=0)


@pytest.mark.parametrize("operation_id", LISTS)
@pytest.mark.parametrize("project_id", ["a b", "a b" * 100])
@pytest.mark.parametrize("name", LinkBuilder._fields)
def test_invalid_url_in_links_is_an_invalid_response(operation_id: str, project_id: str, name: str) -> None:
    url = "http://one.test/openstack"
    links = LinkBuilder(url, url, url)._replace(**{name: f"http://one.test/{project_id}"})
    with pytest.raises(InvalidResponse, match=r"links.*href"):
        LISTS[operation_id].join(Page([b"{}"], has_more=False), links)
