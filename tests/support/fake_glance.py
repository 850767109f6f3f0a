"""A fake Glance v2 server in this process: it serves images from memory, and fails as tests want it to."""

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
from tests.support.projects import THIRD_PROJECT


def glance_image(number: int = 1, **fields: Any) -> Fields:
    """Build an image as Glance returns it. The number determines the id; other fields have plain defaults."""
    path = f"/v2/images/{image_id(number)}"
    return {
        "id": image_id(number),
        "name": None,
        "status": "active",
        "visibility": "public",
        "owner": THIRD_PROJECT,
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


class FakeResponse(NamedTuple):
    """A response of the server. The body is bytes, or a document."""

    status: int
    body: Any = b""
    headers: tuple[tuple[str, str], ...] = ()


UPPER_CASE_IDS = ["ABCDEF01-2345-6789-ABCD-EF0123456789", "ABCDEF01-2345-6789-abcd-ef0123456789"]  # all, or a part
ATTRIBUTES = {"image_id", "base", "__class__"}  # some that Glance's own classes have: no property can be added
HIDDEN = "&os_hidden=true"  # the end of the query for hidden images
NO_RESPONSE = FakeResponse(0)  # the client times out
CONNECTION_CLOSED = FakeResponse(-1)


class ReceivedRequest(NamedTuple):
    """A request that the server received."""

    line: str  # method, path and query
    token: str | None
    body: bytes
    cookie: str | None


class FakeGlance(ThreadingHTTPServer):
    """The server. It shows every image to everyone.

    Keys of `responses`, `before` and `after` are request lines such as `GET /v2/images`, with or without the query.
    """

    daemon_threads = True
    request_queue_size = 128  # a mirror opens several connections at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.images: dict[str, Fields] = {}
        self.members: dict[str, dict[str, str]] = {}  # by image id: the status of each project
        self.page_size = 1000
        self.visibilities = ["all", "public", "private", "shared", "community"]  # that lists can be filtered by
        self.responses: dict[str, FakeResponse] = {}  # replace the right ones
        self.before: dict[str, Callable[[], object]] = {}  # called once, before the response is built
        self.after: dict[str, Callable[[], object]] = {}  # called once, before the response is sent
        self.now: Callable[[], str] | None = None  # the time of a change; by default, `updated_at` stays
        self.requests: list[ReceivedRequest] = []
        self.closing = Event()

    def take_requests(self) -> list[str]:
        """Return the lines of the requests since the last call, without the lists of hidden images."""
        lines = [request.line for request in self.requests if not request.line.endswith(HIDDEN)]
        self.requests.clear()
        return lines

    def put(self, *images: Fields) -> None:
        """Add images, or replace those with the same ids."""
        self.images |= {image["id"]: image for image in images}

    def remove(self, *numbers: int) -> None:
        """Remove images."""
        for number in numbers:
            self.images.pop(image_id(number), None)
            self.members.pop(image_id(number), None)

    def share(self, number: int, **members: str) -> None:
        """Set the members of an image, with their statuses."""
        self.members[image_id(number)] = members

    def get_image(self, image: str) -> FakeResponse:
        """Return an image."""
        return FakeResponse(200, self.images[image]) if image in self.images else FakeResponse(404, b"<html>No image")

    def list_images(self, query: str) -> FakeResponse:
        """Return a page of images."""
        params = dict(parse_qsl(query))
        if params.get("visibility") not in {None, *self.visibilities}:
            return FakeResponse(400, b"<html>Invalid visibility value")
        is_hidden = params.get("os_hidden") == "true"
        images = [image for image in self._newest_first() if bool(image.get("os_hidden")) == is_hidden]
        if params.get("visibility") not in {None, "all"}:
            images = [image for image in images if image["visibility"] == params["visibility"]]
        if "updated_at" in params:
            since = params["updated_at"].removeprefix("gte:")
            images = [image for image in images if _time(image["updated_at"]) >= _time(since)]
        if "marker" in params:
            if params["marker"] not in self.images:
                return FakeResponse(400, b"<html>Invalid marker")
            index = [image["id"] for image in images].index(params["marker"])
            images = images[index + 1 :]
        size = min(int(params["limit"]), self.page_size)
        document: Fields = {"images": images[:size], "schema": "/v2/schemas/images", "first": "/v2/images"}
        if len(images) > size:
            document["next"] = f"/v2/images?{urlencode(params | {'marker': images[size - 1]['id']})}"
        return FakeResponse(200, document)

    def list_members(self, image: str) -> FakeResponse:
        """Return the members of an image."""
        if image not in self.images:
            return FakeResponse(404)
        members = self.members.get(image, {}).items()
        return FakeResponse(200, {"members": [{"member_id": id_, "status": status} for id_, status in members]})

    def patch_image(self, image: str, patch: list[Fields]) -> FakeResponse:
        """Apply a JSON patch to the properties of an image."""
        if image not in self.images:
            return FakeResponse(404)
        changed = dict(self.images[image])
        for change in patch:
            ((operation, pointer),) = ((name, path) for name, path in change.items() if name != "value")
            key = pointer[1:].replace("~1", "/").replace("~0", "~")
            if operation == "add" and (key in changed or key in ATTRIBUTES):
                return FakeResponse(409)
            if operation == "remove":
                del changed[key]
            else:
                changed[key] = change["value"]
        if self.now is not None:
            changed["updated_at"] = self.now()
        self.images[image] = changed
        return FakeResponse(200, changed)

    def _newest_first(self) -> list[Fields]:
        listed = [image for image in self.images.values() if image["status"] != "killed"]
        return sorted(listed, key=lambda image: (image["created_at"], image["id"]), reverse=True)


class _Handler(BaseHTTPRequestHandler):
    server: FakeGlance

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path.split("/")[1:]:
            case ["v2", "images"]:
                self._respond(lambda: self.server.list_images(url.query))
            case ["v2", "images", image]:
                self._respond(lambda: self.server.get_image(image))
            case ["v2", "images", image, "members"]:
                self._respond(lambda: self.server.list_members(image))
            case _:
                self._respond(lambda: FakeResponse(404))

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._respond(lambda: self.server.patch_image(self.path.split("/")[3], orjson.loads(body)), body)

    def do_DELETE(self) -> None:
        def delete() -> FakeResponse:
            return FakeResponse(204 if self.server.images.pop(self.path.split("/")[3], None) else 404)

        self._respond(delete)

    def log_message(self, *_: object) -> None:
        pass

    def _respond(self, build: Callable[[], FakeResponse], body: bytes = b"") -> None:
        line = f"{self.command} {self.path}"
        self.server.requests.append(ReceivedRequest(line, self.headers["X-Auth-Token"], body, self.headers["Cookie"]))
        keys = (line, line.partition("?")[0])
        self._call_hooks(self.server.before, keys)
        response = next((self.server.responses[key] for key in keys if key in self.server.responses), None) or build()
        self._call_hooks(self.server.after, keys)
        if response == NO_RESPONSE:
            self.server.closing.wait()
        elif response != CONNECTION_CLOSED:
            self._send(response)

    def _call_hooks(self, hooks: dict[str, Callable[[], object]], keys: tuple[str, str]) -> None:
        for key in keys:
            hooks.pop(key, lambda: None)()

    def _send(self, response: FakeResponse) -> None:
        body = response.body if isinstance(response.body, bytes) else orjson.dumps(response.body)
        self.send_response(response.status)
        for name, value in response.headers or (("Content-Length", str(len(body))),):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_glance() -> Iterator[FakeGlance]:
    with FakeGlance() as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def glance_client(url: str, *, timeout: float = 20, is_admin: bool = False, token: str | None = None) -> GlanceClient:
    """Return a client of the Glance at a URL: without credentials, as a mirror's, or with a caller's token."""
    return GlanceClient(Session(auth=NoAuth()), url, timeout=timeout, is_admin=is_admin, token=token)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
