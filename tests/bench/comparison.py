"""The servers that are compared with each other, and the runs that load them."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import BenchError
from tests.bench.rounds import Costs, costs
from tests.bench.servers import Server, Spec, running
from tests.bench.specs import (
    CACHED_TARGET,
    CONSTANT,
    SAME_API,
    SERVICE,
    authenticated,
    constant_bytes,
    project_target,
    replicated,
    service,
)
from tests.bench.wrk import Effort, Load, drive

CACHED, NEW, NOT_MODIFIED = "cached", "new", "304 Not Modified"
LOG, METRICS, TOKENS, REPLICA = ", with the access log", ", with metrics", ", with tokens", ", from a replica"
PROJECTS = 50
ONE_PROJECT, MANY_PROJECTS = "new, one page for one project", f"new, one page for {PROJECTS} projects in turn"


class Comparison:
    """Servers of the same images, which run until the stack is closed, and the runs that load them, by name."""

    def __init__(self, stack: ExitStack, folder: Path, effort: Effort, size: int, targets: Sequence[str]) -> None:
        """Set the number of images in a response, and the targets of new responses."""
        self._stack, self._folder, self._effort = stack, folder, effort
        self._size, self._targets = size, targets
        self._servers: list[Server] = []
        self._runs: dict[str, Callable[[], Load]] = {}

    def measure(self) -> Costs:
        """Return what the responses cost. Raises BenchError if the servers respond with different images."""
        self._check()
        return costs(self._runs, self._effort.rounds)

    def add_new(self, catalog: Path) -> None:
        """Add only new responses of the service."""
        self._add(NEW, self._start(service(catalog)), *self._targets)

    def add_service(self, catalog: Path) -> None:
        """Add constant bytes, and the responses of the service with several settings."""
        servers = {
            "": self._start(service(catalog)),
            LOG: self._start(service(catalog, IMAGES_ACCESS_LOG="on"), LOG),
            METRICS: self._start(service(catalog, IMAGES_METRICS="on"), METRICS),
            TOKENS: self._start(authenticated(catalog), TOKENS),
            REPLICA: self._start(replicated(catalog, self._folder), REPLICA),
        }
        plain = servers[""]
        response = plain.get(CACHED_TARGET)
        constant = self._start(constant_bytes(response, self._folder))
        if constant.get().body != response.body:
            raise BenchError("the constant bytes are not those of the response")
        self._add(CONSTANT, constant, CACHED_TARGET)
        for setting, server in servers.items():
            self._add(CACHED + setting, server, CACHED_TARGET)
        self._add(NOT_MODIFIED, plain, CACHED_TARGET, **{"If-None-Match": dict(response.headers)["etag"]})
        for setting, server in servers.items():
            self._add(NEW + setting, server, *self._targets)

    def add_projects(self, catalog: Path) -> None:
        """Add the same page for one project, and for several in turn, each case with its own server."""
        for name, count in ((ONE_PROJECT, 1), (MANY_PROJECTS, PROJECTS)):
            targets = [project_target(number) for number in range(count)]
            self._add(name, self._start(service(catalog, targets[0]), str(count)), *targets)

    def add_peers(self, specs: Iterable[Spec]) -> None:
        """Add the new responses of other servers."""
        for spec in specs:
            self._add(spec.name, self._start(spec), *(self._targets if spec.name in SAME_API else ()))

    def _start(self, spec: Spec, name: str = "") -> Server:
        self._servers.append(self._stack.enter_context(running(spec, self._folder / name)))
        return self._servers[-1]

    def _add(self, name: str, server: Server, *targets: str, **headers: str) -> None:
        self._runs[name] = partial(drive, server, self._effort, targets, **headers)

    def _check(self) -> None:
        """Raise BenchError unless all return the right number of images, and servers of the same API the same ones."""
        expected: dict[str, Any] = {}
        pages = [self._targets[0], self._targets[len(self._targets) // 2], self._targets[-1]]
        for server in self._servers:
            is_same_api = server.spec.name in SAME_API
            for target in pages if is_same_api else [server.spec.target]:
                document = json.loads(server.get(target.replace("{n}", "0")).body)
                images = document if isinstance(document, list) else document["images"]
                if len(images) != self._size:
                    raise BenchError(f"{server.spec.name} returns {len(images)} images, not {self._size}")
                if is_same_api and images != expected.setdefault(target, images):
                    raise BenchError(f"{server.spec.name} does not return the same images as {SERVICE}")
