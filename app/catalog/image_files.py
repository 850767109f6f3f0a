"""Reads the files of an import: returns the images of all files, or raises the errors of all files."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from app.catalog.documents import InvalidImageFile, image_errors, is_valid_image, to_stored_image, unstated_fields
from app.catalog.image_forms import (
    ImageDocument,
    add_defaults,
    is_glance_image,
    is_summary,
    normalize_image,
    recognize_documents,
    select_fields,
    unknown_field,
)
from app.catalog.models import JsonObject, StoredImage
from app.errors import DomainError
from app.text import escape_control_characters, quote
from app.timestamps import SYSTEM_CLOCK, Clock

# Converts an image of Glance to the form of image files. Returns also the fields and descriptions of omitted parts.
GlanceConverter = Callable[[JsonObject], tuple[JsonObject, list[tuple[str, str]]]]

Place = tuple[str, int]  # of an image: the name of its file, and its number in the file, from 1

_MAX_SHOWN_ERRORS = 10
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InvalidImageFiles(DomainError):
    """Image files are invalid. `lines` contains the first errors, one for each line, and the number of all."""

    def __init__(self, errors: list[str]) -> None:
        self.lines = errors[:_MAX_SHOWN_ERRORS]
        if len(errors) > 1:
            shown = f", of which the first {_MAX_SHOWN_ERRORS} are shown" if len(errors) > _MAX_SHOWN_ERRORS else ""
            self.lines.append(f"{len(errors)} errors{shown}; nothing was imported")
        super().__init__(" ".join(self.lines))


@dataclass
class ImageFiles:
    """What the files of an import contain."""

    images: list[StoredImage] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict, compare=False)  # by image id
    unstated: dict[str, frozenset[str]] = field(default_factory=dict)  # see models.Unstated
    left_out: Counter[str] = field(default_factory=Counter)  # by field, the images that it or its part was left out of
    part: str | None = None  # why the files may not have all images of a list
    unfinished: list[str] = field(default_factory=list)  # the files that link to a next page that is not in any file


class _Page(NamedTuple):
    """A list in a file, and when its newest and its oldest image were created; empty text if it has no images."""

    file: str
    has_next: bool
    newest: str
    oldest: str


class ImageFileReader:
    """Reads the files of one import."""

    def __init__(
        self,
        *,
        owner: str | None = None,
        visibility: str | None = None,
        strict: bool = False,
        from_glance: GlanceConverter,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Set the owner and the visibility of images that do not state their own; None leaves them unstated.

        With `strict`, a field that the catalog cannot store is an error; otherwise it is left out.
        """
        options = {"owner": owner, "visibility": visibility}
        self._options = {name: value for name, value in options.items() if value is not None}
        self._strict = strict
        self._from_glance = from_glance
        self._now = clock.now()
        self._unstated_sets: dict[frozenset[str], frozenset[str]] = {}  # many images share a few
        self._files = ImageFiles()
        self._errors: list[str] = []
        self._pages: list[_Page] = []

    def read(self, files: Iterable[tuple[str, bytes]]) -> ImageFiles:
        """Return what files contain, given their names and contents.

        Raises InvalidImageFiles for malformed files, invalid images, and images whose ids occur more than once.
        """
        for name, content in files:
            with self._reporting(name):
                self._read(name, list(recognize_documents(_parse_json(content))))
        return self._result()

    def read_list(self, name: str, pages: Iterable[list[Any]]) -> ImageFiles:
        """Return what a whole list contains, given its name and the images of its pages. Raises InvalidImageFiles."""
        with self._reporting(name):
            self._read(name, (ImageDocument(page, is_list=True) for page in pages))
        return self._result()

    @contextmanager
    def _reporting(self, name: str) -> Iterator[None]:
        try:
            yield
        except InvalidImageFile as error:
            self._errors.append(escape_control_characters(f"{name}: {error}"))

    def _result(self) -> ImageFiles:
        if self._errors:
            raise InvalidImageFiles(self._errors)
        self._files.unfinished = _unfinished_files(self._pages)
        return self._files

    def _read(self, name: str, documents: Iterable[ImageDocument]) -> None:
        number = 0
        for document in documents:
            if document.images and is_summary(document.images[0]):
                raise InvalidImageFile("it is a list without details; a response of /images/detail has the details")
            first = len(self._files.images)
            for number, image in enumerate(document.images, number + 1):  # noqa: B020 continues across documents
                self._add((name, number), image)
            self._record_page(name, document, [image.created for image in self._files.images[first:]])

    def _record_page(self, name: str, document: ImageDocument, created: list[str]) -> None:
        if not document.is_list:
            self._files.part = f"{name} has a single image"
            return
        if document.links:
            self._files.part = f"{name} links to another page of its list"
        newest, oldest = max(created, default=""), min(created, default="")
        self._pages.append(_Page(name, "next" in document.links, newest, oldest))

    def _add(self, place: Place, image: Any) -> None:
        try:
            stated = self._convert(image)
        except InvalidImageFile as error:
            self._report(place, image, error.args)
            return
        earlier = self._files.places.setdefault(stated["id"], place)
        if earlier is not place:
            self._report(place, image, ["duplicate id, already in {}, image {}".format(*earlier)])
            return
        stated = stated | {name: value for name, value in self._options.items() if stated.get(name) is None}
        self._files.images.append(to_stored_image(add_defaults(stated, self._now)))
        unstated = unstated_fields(stated)
        if unstated:
            self._files.unstated[stated["id"]] = self._unstated_sets.setdefault(unstated, unstated)

    def _convert(self, image: Any) -> JsonObject:
        """Return an image in the form of image files. Raises InvalidImageFile with all errors."""
        if not isinstance(image, dict):
            raise InvalidImageFile("it is not an object")
        image, omitted = self._from_glance(image) if is_glance_image(image) else (image, [])
        known, others = select_fields(image)
        errors: list[str] = []
        if self._strict:
            errors += map(unknown_field, others)
            errors += [f"{description} cannot be stored" for _, description in omitted]
        if not is_valid_image(known):
            known = normalize_image(known)
            errors += image_errors(known)
        if errors:
            raise InvalidImageFile(*errors)
        if others or omitted:
            self._files.left_out.update(dict.fromkeys([*others, *(name for name, _ in omitted)]).keys())
        return known

    def _report(self, place: Place, image: Any, errors: Iterable[str]) -> None:
        image_id = image.get("id") if isinstance(image, dict) else None
        name = "{}, image {}".format(*place) + (f" (id {quote(image_id)})" if isinstance(image_id, str) else "")
        self._errors += [escape_control_characters(f"{name}: {error}") for error in errors]


def _unfinished_files(pages: Sequence[_Page]) -> list[str]:
    """Return the files with a link to a next page, unless another page can be the next. Lists are newest first."""
    if not pages:
        return []
    last = min(reversed(pages), key=lambda page: (page.newest, page.has_next))
    unfinished = [page.file for page in pages if page.has_next and (page is last or page.oldest < last.newest)]
    return list(dict.fromkeys(unfinished))


def _parse_json(content: bytes) -> Any:
    """Return the document of a file. Raises InvalidImageFile unless it is JSON in UTF-8."""
    encoding = json.detect_encoding(content)
    if not encoding.startswith("utf-8"):
        raise InvalidImageFile(f"it must be UTF-8, and is {encoding.upper()}")
    try:
        return orjson.loads(content.removeprefix(_BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        reason = str(error)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise InvalidImageFile(f"it must be UTF-8, and byte {error.start} ({content[error.start]:#x}) is not") from None
    raise InvalidImageFile(f"it is not JSON: {reason}")
