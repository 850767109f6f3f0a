"""Lists of images, joined from parts: the JSON of each image, built and validated once per version of the catalog."""

from collections.abc import Sequence
from secrets import token_hex

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

    def join(self, page: Page, links: LinkBuilder) -> tuple[bytes, JsonObject]:
        """Return the JSON of a page, and a document for its validation, which contains only the last image.

        Each part was validated when it was built, except for the URLs in its links. These URLs are the same in all
        images, so validating one image suffices.
        """
        parts, has_more = page
        if not parts:
            return orjson.dumps({"images": []}), {"images": []}
        last = orjson.loads(_fill(parts[-1], links))
        more = {"images_links": next_page(last["id"])} if has_more else {}
        begin, bracket, end = orjson.dumps({"images": [], **more}).partition(b"]")
        parts[0] = begin + parts[0]
        parts[-1] += bracket + end
        slices = (parts[start : start + _SLICE_SIZE] for start in range(0, len(parts), _SLICE_SIZE))
        return b",".join(_fill(b",".join(each), links) for each in slices), {"images": [last], **more}

    def _build(self, images: Sequence[Image]) -> list[bytes]:
        """Return the parts of images. Raises CatalogDamaged if values are damaged, otherwise InvalidResponse."""
        try:
            joined = self._dump(images)
        except (AttributeError, TypeError, ValueError, InvalidResponse) as error:
            # The values of images are not checked when they are read, because that takes time.
            problem = first_invalid(images)
            if problem is None:
                raise
            raise CatalogDamaged(problem) from error
        for url, placeholder in zip(_RANDOM_LINKS, _PLACEHOLDERS, strict=True):
            joined = joined.replace(url.encode(), placeholder)
        return joined.split(b"\n")

    def _dump(self, images: Sequence[Image]) -> bytes:
        """Return the JSON of images, one on each line. Raises InvalidResponse, or other errors for damaged values."""
        documents = [self._serialize(image, _RANDOM_LINKS) for image in images]
        error = first_error(self._validator, documents)
        if error:
            raise InvalidResponse(error)
        return b"\n".join(map(orjson.dumps, documents))  # JSON escapes line breaks


def image_lists(contract: Contract, max_bytes: int) -> dict[str, ImageList]:
    """Return the operations that list images, by operationId. Each may use so much memory for its parts."""
    return {
        each: ImageList(contract, each, serialize, max_bytes)
        for each, serialize in _SERIALIZERS.items()
        if each in contract.operations
    }


def _fill(template: bytes, links: LinkBuilder) -> bytes:
    """Replace the placeholders with the URLs of the project. This takes 0.1 ms for a page of a thousand images."""
    for placeholder, url in zip(_PLACEHOLDERS, links, strict=True):
        template = template.replace(placeholder, orjson.dumps(url)[1:-1])
    return template
