"""The sources of an import: files, a Compute API, or a cloud's image service."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import click

from app.catalog.image_files import GlanceConverter, ImageFileReader, ImageFiles, InvalidImageFiles
from app.cli.console import track
from app.cli.types import require_extra
from app.mirror.mapping import to_file_image
from app.recording.compute import ComputeReader

_READING = "Reading images"


class Source:
    """Reads images for an import. Each method raises ClickException for invalid images."""

    def __init__(self, *, owner: str | None, visibility: str | None, strict: bool) -> None:
        """Set owner and visibility of images that state none, and whether fields that cannot be stored are errors."""
        self._reader = partial(ImageFileReader, owner=owner, visibility=visibility, strict=strict)

    def files(self, files: Sequence[str]) -> ImageFiles:
        """Read files; - is standard input."""
        return _explained(lambda: self._reader(from_glance=to_file_image).read(map(_read_file, files)))

    def compute(self, url: str, token: str | None) -> ImageFiles:
        """Read all images that a Compute API returns. Raises ComputeReadFailed."""
        return self._list(url, ComputeReader(url, token).pages(), to_file_image)

    def glance(self) -> ImageFiles:
        """Read all images that the image service of the configured cloud shows.

        Raises CloudConfigError and GlanceReadFailed.
        """
        with require_extra("mirror", "--from-glance"):
            from app.recording.glance import read_images  # noqa: PLC0415 only this source needs the extra

        logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)  # the errors that it logs are also raised
        glance = read_images(progress=_with_progress)
        return self._list(glance.url, [glance.images], glance.to_file_image)

    def _list(self, name: str, pages: Iterable[list[Any]], from_glance: GlanceConverter) -> ImageFiles:
        return _explained(lambda: self._reader(from_glance=from_glance).read_list(name, _with_progress(pages)))


def _explained(read: Callable[[], ImageFiles]) -> ImageFiles:
    try:
        return read()
    except InvalidImageFiles as error:
        raise click.ClickException("\n".join(error.lines)) from error


def _with_progress(pages: Iterable[list[Any]]) -> Iterator[list[Any]]:
    return track(pages, _READING, size=len, lines=True)


def _read_file(file: str) -> tuple[str, bytes]:
    """Return the name of a file, for messages, and its content."""
    name = "standard input" if file == "-" else file
    try:
        with click.open_file(file, "rb") as stream:
            return name, stream.read()
    except OSError as error:
        raise click.FileError(name, error.strerror) from error
