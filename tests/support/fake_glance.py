"""Stands where a Glance is expected, in this process: it has images, and says what it is told to say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from keystoneauth1.noauth import NoAuth
from keystoneauth1.session import Session

from app.mirror.client import GlanceClient
from tests.support.images import Fields, image_id

OWNER = "33333333333333333333333333333333"


def glance_image(number: int = 1, **fields: Any) -> Fields:
    """Make an image as Glance lists it, whose id tells its number; what matters to a test is given."""
    path = f"/v2/images/{image_id(number)}"
    return {
        "id": image_id(number),
        "name": None,
        "status": "active",
        "visibility": "public",
        "owner": OWNER,
        "protected": False,
        "os_hidden": False,
        "checksum": "d41d8cd98f00b204e9800998ecf8427e",
        "os_hash_algo": "sha512",
        "os_hash_value": "cf83e1357eefb8bd",
        "size": 1,
        "virtual_size": None,
        "container_format": "bare",
        "disk_format": "raw",
        "min_disk": 0,
        "min_ram": 0,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "tags": [],
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    } | fields


class Said(NamedTuple):
    """An answer that is given in the place of the right one."""

    status: int
    body: Any = b""
    headers: tuple[tuple[str, str], ...] = ()


SILENCE = Said(0)  # until the end
NOTHING = Said(-1)  # and the connection ends


class Asked(NamedTuple):
    """A request that came."""

    what: str  # method, path and query
    token: str | None
    body: bytes
    cookie: str | None


class Stand(ThreadingHTTPServer):
    """The server. Each image is there for everyone who asks for it."""

    daemon_threads = True
    request_queue_size = 128  # connections that wait: a mirror comes with several at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.images: dict[str, Fields] = {}
        self.members: dict[str, dict[str, str]] = {}  # of an image: projects, and what these say to it
        self.page = 1000  # images on a page, at most
        self.says: dict[str, Said] = {}  # to a method and path, with the query or without
        self.meanwhile: dict[str, Callable[[], object]] = {}  # what happens once, before such a request is answered
        self.afterwards: dict[str, Callable[[], object]] = {}  # and before its answer, which is made by then, is sent
        self.now: Callable[[], str] | None = None  # when changes are made, if that is to be told
        self.requests: list[Asked] = []
        self.closing = Event()

    @property
    def asked(self) -> list[str]:
        """Give what was asked for since this was looked at last."""
        asked = [request.what for request in self.requests]
        self.requests.clear()
        return asked

    def put(self, *images: Fields) -> None:
        """Have images, in the place of others with their ids."""
        self.images |= {image["id"]: image for image in images}

    def drop(self, *numbers: int) -> None:
        """Have some images no longer."""
        for number in numbers:
            self.images.pop(image_id(number), None)
            self.members.pop(image_id(number), None)

    def share(self, number: int, **members: str) -> None:
        """Have an image shared with these projects and no others."""
        self.members[image_id(number)] = members

    def find(self, image: str) -> Said:
        """Answer with an image."""
        return Said(200, self.images[image]) if image in self.images else Said(404, b"<html>No image found")

    def list_images(self, query: str) -> Said:
        """Answer with a page."""
        asked = dict(parse_qsl(query))
        images = [image for image in self._newest_first() if not image.get("os_hidden")]
        if "updated_at" in asked:
            since = asked["updated_at"].removeprefix("gte:")
            images = [image for image in images if _time(image["updated_at"]) >= _time(since)]
        if "marker" in asked:
            if asked["marker"] not in self.images:
                return Said(400, b"<html>Invalid marker")
            before = [image["id"] for image in images].index(asked["marker"])
            images = images[before + 1 :]
        size = min(int(asked["limit"]), self.page)
        document: Fields = {"images": images[:size], "schema": "/v2/schemas/images", "first": "/v2/images"}
        if len(images) > size:
            document["next"] = f"/v2/images?{urlencode(asked | {'marker': images[size - 1]['id']})}"
        return Said(200, document)

    def list_members(self, image: str) -> Said:
        """Answer with the members of an image."""
        if image not in self.images:
            return Said(404)
        members = self.members.get(image, {}).items()
        return Said(200, {"members": [{"member_id": each, "status": status} for each, status in members]})

    def change(self, image: str, changes: list[Fields]) -> Said:
        """Do what a JSON patch says to properties."""
        if image not in self.images:
            return Said(404)
        changed = dict(self.images[image])
        for change in changes:
            key = change["path"][1:].replace("~1", "/").replace("~0", "~")
            if change["op"] == "remove":
                del changed[key]
            else:
                changed[key] = change["value"]
        if self.now is not None:
            changed["updated_at"] = self.now()
        self.images[image] = changed
        return Said(200, changed)

    def _newest_first(self) -> list[Fields]:
        return sorted(self.images.values(), key=lambda image: (image["created_at"], image["id"]), reverse=True)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Stand

    def do_GET(self) -> None:
        """Answer with a page of images, an image, or its members."""
        url = urlsplit(self.path)
        match url.path.split("/")[1:]:
            case ["v2", "images"]:
                self._answer(lambda: self.server.list_images(url.query))
            case ["v2", "images", image]:
                self._answer(lambda: self.server.find(image))
            case ["v2", "images", image, "members"]:
                self._answer(lambda: self.server.list_members(image))
            case _:
                self._answer(lambda: Said(404))

    def do_PATCH(self) -> None:
        """Change an image."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda: self.server.change(self.path.split("/")[3], orjson.loads(body)), body)

    def do_DELETE(self) -> None:
        """Delete an image."""

        def delete() -> Said:
            return Said(204 if self.server.images.pop(self.path.split("/")[3], None) else 404)

        self._answer(delete)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, right: Callable[[], Said], body: bytes = b"") -> None:
        what = f"{self.command} {self.path}"
        self.server.requests.append(Asked(what, self.headers["X-Auth-Token"], body, self.headers["Cookie"]))
        places = (what, what.partition("?")[0])
        self._happen(self.server.meanwhile, places)
        said = next((self.server.says[place] for place in places if place in self.server.says), None) or right()
        self._happen(self.server.afterwards, places)
        if said == SILENCE:
            self.server.closing.wait()
        elif said != NOTHING:
            self._send(said)

    def _happen(self, events: dict[str, Callable[[], object]], places: tuple[str, str]) -> None:
        for place in places:
            events.pop(place, lambda: None)()

    def _send(self, said: Said) -> None:
        body = said.body if isinstance(said.body, bytes) else orjson.dumps(said.body)
        self.send_response(said.status)
        for name, value in said.headers or (("Content-Length", str(len(body))),):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def standing() -> Iterator[Stand]:
    """Stand there until the end of the block."""
    with Stand() as stand:
        thread = Thread(target=stand.serve_forever, args=[0.01])
        thread.start()
        try:
            yield stand
        finally:
            stand.closing.set()
            stand.shutdown()
            thread.join()


def glance_at(url: str, *, answer_in: float = 20, is_admin: bool = False) -> GlanceClient:
    """Give the Glance at a URL, as a mirror asks it."""
    return GlanceClient(Session(auth=NoAuth()), url, answer_in=answer_in, is_admin=is_admin)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
