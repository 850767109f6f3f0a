"""Lists of images, joined from parts: the JSON of each image, built and validated once per version of the catalog."""

from collections.abc import Sequence
from functools import lru_cache
from secrets import token_hex
from uuid import UUID

import orjson

from app.api.links import LinkBuilder, next_page
from app.api.serializers import ImageSerializer, serialize_image, serialize_image_summary
from app.catalog.documents import first_invalid
from app.catalog.errors import CatalogDamaged
from app.catalog.image_parts import Page, PartStore
from app.catalog.models import Image, JsonObject
from app.contract.document import Contract
from app.contract.schemas import first_error
from app.errors import InvalidResponse

# In a part, these bytes replace the URLs of a LinkBuilder. JSON escapes control characters, so no value contains them.
_PLACEHOLDERS = (b"\1", b"\2", b"\3")
# Parts are first built with random URLs. No value contains these URLs, because nobody can know them.
_RANDOM_LINKS = LinkBuilder(*(f"http://{token_hex(16)}" for _ in _PLACEHOLDERS))
# An image with every kind of link, with which the URLs in links are validated.
_TIME = "2011-01-01T01:02:03Z"
_SAMPLE = Image(str(UUID(int=0)), "", "ACTIVE", 100, _TIME, _TIME, 0, 0, None, '{"instance_uuid":"server"}')
_MAX_LINKS, _MAX_URL_LENGTH = 1000, 256  # limits of the cache of valid links
_SLICE_SIZE = 100  # parts that are joined at once, while no other thread can run
_SERIALIZERS: dict[str, ImageSerializer] = {
    "listImages": serialize_image_summary,
    "listImagesDetails": serialize_image,
}


class ImageList:
    """An operation that lists images: how it serializes an image, and the parts that it has stored."""

    def __init__(self, contract: Contract, operation_id: str, serialize: ImageSerializer, max_bytes: int) -> None:
        """Set the operation of the contract. Raises ValueError if its images cannot be validated in parts."""
        self._validator = contract.list_validator(operation_id, "images")
        self._serialize = serialize
        self.store = PartStore(self._build, max_bytes)
        self._cached_urls = lru_cache(_MAX_LINKS)(self._urls)

    def join(self, page: Page, links: LinkBuilder) -> tuple[bytes, JsonObject]:
        """Return the JSON of a page, and a document for its validation, which is the page without images.

        Each image was validated when its part was built, except for the URLs in its links. Raises InvalidResponse
        if these are invalid.
        """
        parts, has_more = page
        document: JsonObject = {"images": []}
        if not parts:
            return orjson.dumps(document), document
        urls = self._cached_urls(links) if len(links.compute) <= _MAX_URL_LENGTH else self._urls(links)
        if has_more:
            document["images_links"] = next_page(orjson.loads(_fill(parts[-1], urls))["id"])
        begin, bracket, end = orjson.dumps(document).partition(b"]")
        parts[0] = begin + parts[0]
        parts[-1] += bracket + end
        slices = (parts[start : start + _SLICE_SIZE] for start in range(0, len(parts), _SLICE_SIZE))
        return b",".join(_fill(b",".join(each), urls) for each in slices), document

    def _urls(self, links: LinkBuilder) -> list[bytes]:
        """Return the URLs of links as JSON contains them. Raises InvalidResponse unless an image with them is valid.

        They are the same in all images, so they are validated once for each project and host. Validating an image of
        each page instead would take 6 % of an uncached response of 7 images.
        """
        self._dump([_SAMPLE], links)
        return [orjson.dumps(url)[1:-1] for url in links]

    def _build(self, images: Sequence[Image]) -> list[bytes]:
        """Return the parts of images. Raises CatalogDamaged if values are damaged, otherwise InvalidResponse."""
        try:
            joined = self._dump(images, _RANDOM_LINKS)
        except (AttributeError, TypeError, ValueError, InvalidResponse) as error:
            # The values of images are not checked when they are read, because that takes time.
            problem = first_invalid(images)
            if problem is None:
                raise
            raise CatalogDamaged(problem) from error
        for url, placeholder in zip(_RANDOM_LINKS, _PLACEHOLDERS, strict=True):
            joined = joined.replace(url.encode(), placeholder)
        return joined.split(b"\n")

    def _dump(self, images: Sequence[Image], links: LinkBuilder) -> bytes:
        """Return the JSON of images, one on each line. Raises InvalidResponse, or other errors for damaged values."""
        documents = [self._serialize(image, links) for image in images]
        error = first_error(self._validator, documents)
        if error:
            raise InvalidResponse(error)
        return b"\n".join(map(orjson.dumps, documents))  # JSON escapes line breaks


def image_lists(contract: Contract, max_bytes: int) -> dict[str, ImageList]:
    """Return the lists of images by operationId. The parts of each may take up to `max_bytes` of memory."""
    return {
        each: ImageList(contract, each, serialize, max_bytes)
        for each, serialize in _SERIALIZERS.items()
        if each in contract.operations
    }


def _fill(template: bytes, urls: Sequence[bytes]) -> bytes:
    """Replace the placeholders with the URLs of the project. This takes 0.1 ms for a page of a thousand images."""
    for placeholder, url in zip(_PLACEHOLDERS, urls, strict=True):
        template = template.replace(placeholder, url)
    return template
