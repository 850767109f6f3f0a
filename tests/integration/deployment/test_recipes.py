"""The recipes under "Deployment" and "Behind a proxy" in the README, run as they are written."""

import json
import re
import shlex
import shutil

import pytest

from tests.integration.deployment.machine import Machine, confined, wheels
from tests.integration.deployment.recipes import files, scripts, section

pytestmark = pytest.mark.external(install=[wheels])

FILES = files(section("Deployment") + section("Behind a proxy"))
_, START, _ = scripts(section("Deployment"))
IMAGE = re.findall(r"^([A-Z]+) (.*)$", FILES["Containerfile"], flags=re.MULTILINE)
ENVIRON = dict(word.split("=", 1) for name, text in IMAGE if name == "ENV" for word in shlex.split(text))
ENTRYPOINT, CMD = (json.loads(dict(IMAGE)[name]) for name in ("ENTRYPOINT", "CMD"))
USER, VOLUME = dict(IMAGE)["USER"], dict(IMAGE)["VOLUME"]

SERVICE = "http://127.0.0.1:8774"
SOCKET = "/run/compute-images/http.sock"
URL = "https://cloud.example.com/images"
CERTIFICATE, KEY = "/etc/ssl/certs/cloud.example.com.pem", "/etc/ssl/private/cloud.example.com.key"
NGINX, CADDYFILE = "/etc/nginx/conf.d/compute-images.conf", "/etc/caddy/Caddyfile"
PREPARE = f"""
install -d -o 10001 -g www-data /run/compute-images
echo 127.0.0.1 cloud.example.com >> /etc/hosts
openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=cloud.example.com -addext subjectAltName=DNS:cloud.example.com \\
  -keyout {KEY} -out {CERTIFICATE} 2>&1
"""


def run(machine: Machine, *command: str) -> str:
    """Run a command of the container and return its output."""
    with machine.running(confined([*ENTRYPOINT, *command], ENVIRON, user=USER, writable=VOLUME)) as process:
        return process.communicate(timeout=60)[0]


def test_container_starts_without_privileges_and_writes_to_its_volume_only(machine: Machine) -> None:
    token = run(machine, "token", "add", "openstack").strip()
    with machine.running(confined([*ENTRYPOINT, *CMD], ENVIRON, user=USER, writable=VOLUME)) as process:
        url = f"{SERVICE}/v2/openstack/images"
        assert machine.fetch(url, "-H", f"X-Auth-Token: {token}") == {"images": []}
        assert machine.fetch(url)["unauthorized"]["code"] == 401
        process.terminate()
        assert process.wait(60) == 0


@pytest.fixture
def units(machine: Machine) -> dict[str, str]:
    """Write the files of systemd, and return them."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    files = {name: text for name, text in FILES.items() if name.startswith(("/etc/systemd/", "/etc/compute-images"))}
    machine.write(files)
    return files


def test_systemd_units_are_valid_and_isolated(machine: Machine, units: dict[str, str]) -> None:
    names = [name for name in units if name.endswith(".service")]
    assert len(names) == 2
    assert machine.run(f"systemd-analyze verify --man=no {' '.join(names)}") == ""
    for name in names:  # the exposure, of 100
        machine.run(f"systemd-analyze security --no-pager --offline=true --threshold=20 {name}")


def test_systemd_starts_the_unit_once_the_service_is_ready_and_stops_it(
    machine: Machine, units: dict[str, str]
) -> None:
    with machine.systemd() as run:
        token = run(START).splitlines()[0]
        images = machine.fetch(f"{SERVICE}/v2/openstack/images", "-H", f"X-Auth-Token: {token}")
        assert images == {"images": []}
        run("systemctl stop compute-images-web")
        status = run("systemctl show --property ActiveState,Result,NRestarts compute-images-web")
    assert status.splitlines() == ["Result=success", "NRestarts=0", "ActiveState=inactive"]


@pytest.mark.parametrize(
    ("address", "nginx", "caddy"),
    [
        ("127.0.0.1:8774", "http://127.0.0.1:8774/", "127.0.0.1:8774"),
        (f"unix:{SOCKET}", f"http://unix:{SOCKET}:/", f"unix/{SOCKET}"),
    ],
)
def test_proxies_serve_with_tls_and_a_prefix(machine: Machine, address: str, nginx: str, caddy: str) -> None:
    for program in ("nginx", "caddy"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    machine.write({CADDYFILE: FILES[CADDYFILE].replace("127.0.0.1:8774", caddy)})
    machine.write({NGINX: FILES[NGINX].replace("http://127.0.0.1:8774/", nginx)})
    machine.run(PREPARE)
    machine.run(f"nginx -t && caddy validate --config {CADDYFILE}")
    run(machine, "import", "/src/data/list-images-details.json")
    environ = ENVIRON | {"IMAGES_AUTH": "none", "IMAGES_COMPUTE_URL": URL}
    service = [*ENTRYPOINT, "serve", "--bind", address]
    folders = f"{VOLUME} /run/compute-images"
    with machine.running(confined(service, environ, user="10001:www-data", writable=folders)):
        for proxy in (["nginx", "-g", "daemon off;"], ["caddy", "run", "--config", CADDYFILE]):
            with machine.running(proxy):
                page = machine.fetch(f"{URL}/v2/openstack/images/detail?limit=2", "-f", "--cacert", CERTIFICATE)
                next_page = machine.fetch(page["images_links"][0]["href"], "--cacert", CERTIFICATE)
                image = machine.fetch(page["images"][0]["links"][0]["href"], "--cacert", CERTIFICATE)
            assert image == {"image": page["images"][0]}
            assert len({each["id"] for each in page["images"] + next_page["images"]}) == 4
