"""The recipes under "Several machines" in the README, run as they are written, with a PostgreSQL server and proxies."""

import json
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.integration.deployment.machine import Machine, confined, wheels
from tests.integration.deployment.recipes import files, scripts, section
from tests.support.packages import Missing
from tests.support.postgresql import programs

pytestmark = pytest.mark.external(install=[wheels])

RECIPES = section("Several machines")
FILES = files(RECIPES)
ROLES, CONNECTIONS = scripts(RECIPES, "sql")
INSTALL, MIGRATE, _ = scripts(RECIPES)
INSTALL_ALONE, START_ALONE, _ = scripts(section("Deployment"))
CREATE_USER, CREATE_HOME = INSTALL_ALONE.splitlines()[-1], START_ALONE.splitlines()[0]
ENV_FILE = "/etc/compute-images.env"
ENVIRON = dict(word.split("=", 1) for word in shlex.split(FILES[ENV_FILE]))
DROP_IN = "/etc/systemd/system/compute-images-web.service.d/address.conf"
(SERVE,) = re.findall(r"^ExecStart=(.+)$", FILES[DROP_IN], re.MULTILINE)
ADDRESSES = ("10.0.0.11", "10.0.0.12")
CERTIFICATE = "/etc/ssl/certs/cloud.example.com.pem"
WRITTEN = "%{http_code}/%header{retry-after}"
URL = "https://cloud.example.com/images/v2/openstack/images"
PROXIES = {
    "haproxy": ("/etc/haproxy/haproxy.cfg", ["haproxy", "-f", "/etc/haproxy/haproxy.cfg"]),
    "nginx": ("/etc/nginx/conf.d/compute-images.conf", ["nginx", "-g", "daemon off;"]),
}
USER = "compute-images:compute-images"
AS_USER = "runuser -u compute-images -- /opt/compute-images/bin/compute-images"
AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
PREPARE = f"""
for address in {" ".join(ADDRESSES)} 10.0.0.21; do ip address add $address dev lo; done
printf '%s\\n' '127.0.0.1 cloud.example.com' '10.0.0.21 db-1.example.com' '10.0.0.22 db-2.example.com' >> /etc/hosts
cd /etc/ssl
for name in cloud db-1; do
  openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=$name.example.com -keyout private/$name.example.com.key \\
    -addext subjectAltName=DNS:$name.example.com -out certs/$name.example.com.pem 2>/dev/null
done
cat certs/cloud.example.com.pem private/cloud.example.com.key > private/cloud.example.com.pem
cp certs/db-1.example.com.pem certs/images-db.pem
install -d -o postgres /db
install -o postgres -m 600 private/db-1.example.com.key /db/server.key
{shlex.join(AS_POSTGRES)} {{programs}}/initdb -D /db/data --auth-local=trust --no-sync
echo hostssl all all all scram-sha-256 >> /db/data/pg_hba.conf
"""


DATABASE = """
-D /db/data --listen-addresses=10.0.0.21 --unix-socket-directories=/db --ssl=on
--ssl-cert-file=/etc/ssl/certs/db-1.example.com.pem --ssl-key-file=/db/server.key
"""


class Site:
    """Two machines, each with an address of its own, and their database."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run(PREPARE.replace("{programs}", str(programs())))
        with self.database():
            self.psql(ROLES)
            machine.write({ENV_FILE: FILES[ENV_FILE]})
            machine.run(f"id compute-images || {CREATE_USER}; {CREATE_HOME}")
            machine.run(INSTALL)
            *_, self.token = machine.run(MIGRATE).split()
            machine.run(f"set -a; . {ENV_FILE}; {AS_USER} import --tenant openstack /src/data/list-images-details.json")

    @contextmanager
    def database(self) -> Iterator[None]:
        """Run PostgreSQL."""
        with self.machine.running([*AS_POSTGRES, str(programs() / "postgres"), *DATABASE.split()]) as process:
            self.machine.run("until pg_isready --quiet --host=/db; do sleep 0.1; done")
            try:
                yield
            finally:
                process.send_signal(signal.SIGINT)  # closes all connections

    def psql(self, script: str, user: str = "postgres") -> str:
        """Run SQL in a database, which a script can change, and return the output with errors."""
        options = ["--host=/db", f"--username={user}", "--set=ON_ERROR_STOP=1", "--dbname=postgres"]
        return self.machine.run(f"{shlex.join(['psql', *options])} <<'END' 2>&1\n{script}\nEND")

    def serving(self, address: str) -> AbstractContextManager[object]:
        """Run the service of a machine."""
        command = shlex.split(SERVE.replace(ADDRESSES[0], address))
        environ = ENVIRON | {"TMPDIR": "/var/lib/compute-images"}
        return self.machine.running(confined(command, environ, user=USER, writable="/var/lib/compute-images"))

    def get(self, url: str, *options: str) -> Any:
        """Return the response as JSON."""
        return self.machine.fetch(url, "-H", f"X-Auth-Token: {self.token}", "--cacert", CERTIFICATE, *options)

    def change_image(self, value: str) -> None:
        """Change an image through the proxy, and compare what both machines respond."""
        services = [f"http://{address}:8774" for address in ADDRESSES]
        assert [self.get(f"{each}/healthcheck/ready")["status"] for each in services] == ["ready"] * 2
        self.await_response("200/")
        image = self.get(URL)["images"][0]
        item = {"meta": {"os_distro": value}}
        change = ("-X", "PUT", "-H", "Content-Type: application/json", "-d", json.dumps(item))
        assert self.get(f"{image['links'][0]['href']}/metadata/os_distro", *change) == item
        path = f"v2/openstack/images/{image['id']}/metadata/os_distro"
        assert [self.get(f"{each}/{path}") for each in services] == [item] * 2

    def responses(self, count: int) -> list[str]:
        """Request a list of images through the proxy. Return the status and the Retry-After of each response."""
        return self.machine.run(f"for each in {{1..{count}}}; do {self._request}; echo; done").split()

    def await_response(self, expected: str) -> None:
        """Wait until a list of images has the expected status, and the expected Retry-After (a pattern of bash)."""
        self.machine.run(f'until [[ "$({self._request})" = {expected} ]]; do sleep 0.1; done')

    @property
    def _request(self) -> str:
        options = ["-H", f"X-Auth-Token: {self.token}", "--cacert", CERTIFICATE, "-o", "/dev/null", "-w", WRITTEN]
        return shlex.join(["curl", "-s", "--max-time", "3", *options, URL])


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    """Follow the README up to the creation of the catalog."""
    try:
        return Site(machine)
    except Missing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("proxy", PROXIES)
def test_proxies_send_requests_to_the_machines_that_are_ready(site: Site, proxy: str) -> None:
    if not shutil.which(proxy):
        pytest.skip(f"{proxy} is not installed")
    file, command = PROXIES[proxy]
    site.machine.write({file: FILES[file]})
    with site.machine.running(command):
        with site.serving(ADDRESSES[0]):
            with site.database():
                with site.serving(ADDRESSES[1]):
                    site.change_image(proxy)
                assert site.responses(20) == ["200/"] * 20
            site.await_response("503/[0-9]*")
            with site.database():
                site.await_response("200/")
        site.await_response("503/1")


def test_role_of_the_service_cannot_change_the_schema(site: Site) -> None:
    with site.database(), pytest.raises(AssertionError, match="permission denied for schema public"):
        site.psql("\\connect images\nCREATE TABLE another (number integer)", user="images_service")


def test_connections_of_the_service_are_listed(site: Site) -> None:
    with site.database(), site.serving(ADDRESSES[0]):
        assert site.get(f"http://{ADDRESSES[0]}:8774/v2/openstack/images")["images"] != []
        assert " 10.0.0.21   | images_service | idle " in site.psql(CONNECTIONS)
