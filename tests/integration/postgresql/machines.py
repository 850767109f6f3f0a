"""Machines that serve one catalog, each a process with its own folder and settings, and a load balancer."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.integration.deployment import recipes
from tests.integration.postgresql.clients import Model, Numbers, Reader, Target, Worker, Writer
from tests.integration.server.service import COMMAND, SERVE, Service, free_port, run, serving, session, until
from tests.integration.server.wire import Connection, Response, request
from tests.support.images import Fields, file_of, image, image_id, image_number
from tests.support.packages import Missing

WRITTEN, IMPORTED = "written", "imported"  # projects, whose images are changed through the API and by imports
WRITERS, IMPORTED_IMAGES = 2, 20
BY_HAND = WRITERS  # the number of the image that is changed with SQL
NUMBER = "number"  # the metadata item

_RECIPE = recipes.files(recipes.section("Several machines"))["/etc/haproxy/haproxy.cfg"]


class CommandFailed(Exception):
    """A command of compute-images failed. The message is what it wrote to standard error."""


class Commands(NamedTuple):
    """The commands of a machine that runs no service."""

    folder: Path
    settings: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a command of compute-images, and return its output. Raises CommandFailed."""
        result = run(COMMAND, *command, folder=self.folder, **self.settings)
        if result.returncode:
            raise CommandFailed(result.stderr)
        return result.stdout

    def import_images(self, *images: Fields) -> None:
        """Import images. Raises CommandFailed."""
        (self.folder / "images.json").write_bytes(file_of(*images))
        self.run("import", "images.json")


class Fleet:
    """Machines with a load balancer, and a catalog with numbers that clients increase."""

    def __init__(self, services: Sequence[Service], balancer_port: int, commands: Commands, token: str) -> None:
        """Set the services of the machines, and the token of an administrator."""
        self.services = services
        self.ports = [service.port for service in services]
        self.balancer_port = balancer_port
        self.commands = commands
        self.token = token
        self.model = Model()
        self.token_numbers = count(1)
        self._token_target: Target | None = None

    def add_token(self, name: str) -> str:
        """Add a token, and let readers use it."""
        token = self.commands.run("token", "add", WRITTEN).strip()
        self.model.see({name: 1}, "an acknowledgement")
        self._token_target = Target(
            item_path(0), token, lambda response: {name: 2 if response.status == 401 else 1}, frozenset({200, 401})
        )
        return token

    def targets(self) -> list[Target]:
        """Return what readers read: single items, lists, and an item with a token that is revoked at some time."""
        lists = [
            Target(f"/v2/{WRITTEN}/images/detail", self.token, _written_numbers),
            Target(f"/v2/{IMPORTED}/images/detail", self.token, _imported_number),
        ]
        items = [Target(item_path(each), self.token, _item_number(item_path(each))) for each in range(WRITERS + 1)]
        return lists + items + ([self._token_target] if self._token_target else [])

    def workers(self, ports: Sequence[int] = ()) -> list[Worker]:
        """Return sixteen clients: writers of the first machine, an operator, and readers of some or all ports."""
        first, second = self.ports
        writers = [Writer(self.model, first, item_path(each), self.token, pause=0.02) for each in range(WRITERS)]
        ports = ports or [first] * 2 + [second] * 6 + [self.balancer_port] * 5
        return [*writers, Operator(self, pause=0.2), *(Reader(self.model, port, self.targets) for port in ports)]

    def settle(self) -> None:
        """Compare what each machine shows now with everything that was acknowledged. Raises if it cannot be read."""
        for port in self.ports:
            with Connection(port) as connection:
                for target in self.targets():
                    assert self.model.read(connection, target)[1]
        for service in self.services:
            assert "Traceback" not in service.log


class Operator(Worker):
    """Imports images, and adds and revokes tokens, with commands."""

    def __init__(self, fleet: Fleet, *, pause: float) -> None:
        super().__init__(fleet.model)
        self._fleet = fleet
        self._pause = pause

    def step(self) -> None:
        """Import the next number, and revoke a new token after a while."""
        fleet, model = self._fleet, self.model
        try:
            number = model.send(IMPORTED)
            fleet.commands.import_images(*_imported_images(number))
            model.see({IMPORTED: number}, "an acknowledgement")
            name = f"token {next(fleet.token_numbers)}"
            model.send(name)
            token = fleet.add_token(name)
            self.stopped.wait(self._pause)
            model.send(name)
            fleet.commands.run("token", "revoke", token)
            model.see({name: 2}, "an acknowledgement")
        except CommandFailed as error:
            if "Traceback" in str(error) or not str(error).startswith("Error: "):
                model.problems.append(f"unexpected: {error}")
        self.stopped.wait(self._pause)


def resources(service: Service) -> str:
    """Return the memory, the threads and the open files of the worker of a service, if it runs."""
    if service.process.poll() is not None:
        return "killed"
    process = Path(f"/proc/{service.workers[-1]}")
    status, files = (process / "status").read_text(), len(list((process / "fd").iterdir()))
    memory, threads = (re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE) for name in ("VmRSS", "Threads"))
    assert memory is not None
    assert threads is not None
    return f"{int(memory[1]) // 1024} MiB, {threads[1]} threads, {files} files"


def _imported_images(number: int) -> list[Fields]:
    access = {"owner": IMPORTED, "visibility": "private"}
    return [image(100 + each, metadata={NUMBER: str(number)}, **access) for each in range(IMPORTED_IMAGES)]


def item_path(number: int) -> str:
    return f"/v2/{WRITTEN}/images/{image_id(number)}/metadata/{NUMBER}"


def _item_number(name: str) -> Callable[[Response], Numbers]:
    return lambda response: {name: int(response.document["meta"][NUMBER])}


def _written_numbers(response: Response) -> Numbers:
    images = response.document["images"]
    assert len(images) == WRITERS + 1
    return {item_path(image_number(each["id"])): int(each["metadata"][NUMBER]) for each in images}


def _imported_number(response: Response) -> Numbers:
    """Return the number that all imported images have: an import is atomic."""
    numbers = [each["metadata"][NUMBER] for each in response.document["images"]]
    assert numbers == numbers[:1] * IMPORTED_IMAGES
    return {IMPORTED: int(numbers[0])}


@contextmanager
def fleet(folder: Path, catalogs: Sequence[str], catalog: str) -> Iterator[Fleet]:
    """Run a machine for each location, and a balancer, until the end of the block.

    The locations, and that of commands, lead to one catalog, in which all numbers are 0.
    """
    commands = Commands(folder, _settings(catalog))
    token = commands.run("token", "add", "--admin", WRITTEN).strip()
    access = {"owner": WRITTEN, "visibility": "private"}
    written = [image(number, metadata={NUMBER: "0"}, **access) for number in range(WRITERS + 1)]
    commands.import_images(*written, *_imported_images(0))
    with ExitStack() as stack:
        services = []
        for number, each in enumerate(catalogs):
            own = folder / f"machine{number}"
            own.mkdir()
            services.append(stack.enter_context(serving(own, command=SERVE, workers=1, **_settings(each))))
        port = stack.enter_context(_balancing(folder, [service.port for service in services]))
        yield Fleet(services, port, commands, token)


def _settings(catalog: str) -> dict[str, str]:
    return {"IMAGES_CATALOG": catalog, "IMAGES_AUTH": "token"}


@contextmanager
def _balancing(folder: Path, ports: Sequence[int]) -> Iterator[int]:
    """Run the README's HAProxy in front of ports until the end of the block, and return its port. Raises Missing."""
    if not shutil.which("haproxy"):
        raise Missing("haproxy (apt-get install haproxy)")
    port = free_port()
    local = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", _RECIPE.replace(" if { path_beg /images/ }", ""))
    servers = re.sub(r"10\.0\.0\.1(\d):8774", lambda machine: f"127.0.0.1:{ports[int(machine[1]) - 1]}", local)
    (folder / "haproxy.cfg").write_text(servers)
    command = ("haproxy", "-f", "haproxy.cfg")
    with (folder / "haproxy.log").open("wb") as log, session(command, folder, {}, output=log.fileno()):
        until(lambda: _is_ready(port))
        yield port


def _is_ready(port: int) -> bool:
    try:
        with Connection(port) as connection:
            return connection.fetch(request("/healthcheck/ready")).status == 200
    except OSError:
        return False
