"""How long a client waits for cached responses while others send the slowest queries to the same worker.

Run it with `python -m tests.bench.slow_reads [IMAGES] [SECONDS]`. It needs about a minute to create the catalog.
"""

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from app.catalog.engines import open_catalog
from app.catalog.models import StoredImage
from app.catalog.transfer import import_images
from tests.integration.server.service import Service, serving
from tests.support.images import image_id

_LIST = "/v2/{n:032x}/images/detail"  # each project has stored responses of its own, although all are the same
_CACHED = f"{_LIST.format(n=1)}?limit=7"
ATTACKS = {
    "no other client": [],
    "filters that match often, but never together": ["?minRam=512&minDisk=20"],
    "4 of them": ["?minRam=512&minDisk=20"] * 4,
    "4 times changes-since with 20,000 old images": ["?changes-since=2026-01-01T00:00:00Z&minDisk=1"] * 4,
    "2 times pages of 2,000 images": ["?limit=2000"] * 2,
    "pages of 100,000 images": ["?limit=100000"],
}
_ATTACK = """
import http.client, itertools, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
for number in itertools.count(int(sys.argv[3])):
    connection.request("GET", sys.argv[2].format(n=number))
    response = connection.getresponse()
    response.read()
    print(response.status, flush=True)
"""


def images(count: int) -> Iterator[StoredImage]:
    """Yield public images: one half requires memory and the other a disk; every twentieth was changed long after."""
    for number in range(count):
        created = f"20{10 + number % 10}-01-01T00:00:{number % 60:02}Z"
        yield StoredImage(
            id=image_id(number),
            name=f"image-{number % 1000}",
            status="ACTIVE",
            progress=100,
            created=created,
            updated="2026-02-01T00:00:00Z" if number % 20 == 0 else created,
            min_disk=20 * (number % 2),
            min_ram=512 * (1 - number % 2),
            size=number,
            metadata='{"architecture":"x86_64","kernel_id":"nokernel"}',
            owner=None,
            visibility="public",
            members="[]",
            pending_members="[]",
            hidden=False,
        )


def latencies(service: Service, seconds: float) -> list[float]:
    """Return the milliseconds that each of a client's cached responses took, sent one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        connection.request("GET", _CACHED)
        connection.getresponse().read()
        taken.append((time.perf_counter() - start) * 1000)
        time.sleep(0.001)
    return taken


def measure(service: Service, attacks: Sequence[str], seconds: float) -> str:
    """Return one line: the client's median, 99th percentile and maximum, and the responses that the others got."""
    with ExitStack() as stack:
        command = [sys.executable, "-c", _ATTACK, str(service.port)]
        others = [
            stack.enter_context(
                subprocess.Popen([*command, _LIST + query, str(10**9 * number)], stdout=subprocess.PIPE)
            )
            for number, query in enumerate(attacks, 1)
        ]
        taken = latencies(service, seconds)
        statuses = []
        for other in others:
            other.terminate()
            statuses += other.communicate()[0].decode().split()
    quantiles = statistics.quantiles(taken, n=100)
    counts = ", ".join(f"{statuses.count(each)} times {each}" for each in sorted(set(statuses)))
    return f"median {quantiles[49]:.1f} ms, p99 {quantiles[98]:.1f} ms, maximum {max(taken):.1f} ms; {counts or '-'}"


def main(count: int = 400_000, seconds: int = 3) -> None:
    """Create the catalog, and print a line for each attack."""
    with TemporaryDirectory() as folder:
        catalog = Path(folder) / "catalog.db"
        import_images(open_catalog(catalog), list(images(count)), tombstone_days=30)
        with serving(Path(folder), IMAGES_CATALOG=str(catalog), IMAGES_MAX_LIMIT="100000") as service:
            latencies(service, 0.5)
            for name, attacks in ATTACKS.items():
                sys.stdout.write(f"{name}: {measure(service, attacks, seconds)}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
