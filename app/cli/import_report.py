"""What an import reports besides its result: fields that were left out, and images whose fields do not fit together."""

from collections.abc import Iterable, Iterator, Mapping

import click

from app.catalog.image_files import ImageFiles, Place
from app.catalog.image_forms import similar_field
from app.catalog.models import StoredImage
from app.catalog.transfer import access_problem
from app.cli.console import warn
from app.text import escape_control_characters

_MAX_LEFT_OUT = 20  # names of fields
_MAX_NAME_LENGTH = 100


class AccessWarnings:
    """Counts, for each file, the images whose owner, visibility and members do not fit together."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        """Set the places of the images, by their ids."""
        self._places = places
        self._found: dict[tuple[str, str], tuple[int, str]] = {}  # by file and problem: count, and the first id

    def observe(self, images: Iterable[StoredImage]) -> Iterator[StoredImage]:
        """Count images as they are stored, and yield them."""
        for image in images:
            problem = access_problem(image)
            if problem:
                file, _ = self._places[image.id]
                count, first = self._found.get((file, problem), (0, image.id))
                self._found[file, problem] = (count + 1, first)
            yield image

    def show(self) -> None:
        """Write a warning for each file and problem."""
        for (file, problem), (count, first) in self._found.items():
            warn(f"{file}: {_count(count)} {problem}; the first is {first}.")


def report_left_out(content: ImageFiles) -> None:
    """Write to standard error what was left out of how many images, and which field a name may be meant for."""
    parts = [_left_out(name, count) for name, count in content.left_out.most_common(_MAX_LEFT_OUT)]
    if len(content.left_out) > len(parts):
        parts.append(f"{len(content.left_out) - len(parts)} other fields")
    if parts:
        click.echo(f"Left out: {', '.join(parts)}.", err=True)


def _left_out(name: str, count: int) -> str:
    meant = similar_field(name)
    hint = f"; did you mean '{meant}'?" if meant else ""
    return f"{escape_control_characters(name[:_MAX_NAME_LENGTH])} ({_count(count)}{hint})"


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"
