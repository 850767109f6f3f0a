"""The configured cloud: its credentials, and clients of its image service."""

from collections.abc import Callable
from functools import cache

from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from openstack.config import OpenStackConfig
from openstack.config.cloud_region import CloudRegion

from app.auth.keystone import has_admin_role
from app.mirror.client import CloudConfigError, GlanceClient, UpstreamError, translate_errors

_SERVICE_TYPE = "image"


def load_cloud_config() -> CloudRegion:
    """Read the configuration of the cloud from `clouds.yaml` or the environment. Raises CloudConfigError."""
    try:
        return OpenStackConfig(app_name="compute-images").get_one()
    except Exception as error:
        raise CloudConfigError(error) from error


def connect(region: CloudRegion) -> GlanceClient:
    """Return a client of a cloud's Glance with the configured credentials. Raises CloudConfigError and UpstreamError.

    The credentials are used at once, so that invalid ones do not fail in the middle of a sync.
    """
    try:
        with translate_errors():
            session: Session = region.get_session()
            session.get_token()
            url = region.get_endpoint(_SERVICE_TYPE) or session.get_endpoint(
                service_type=_SERVICE_TYPE,
                interface=region.get_interface(_SERVICE_TYPE),
                region_name=region.get_region_name(_SERVICE_TYPE),
            )
    except (UpstreamError, CloudConfigError):
        raise
    except Exception as error:  # keystoneauth raises a bare Exception for a missing password, for example
        raise CloudConfigError(error) from error
    if url is None:
        raise CloudConfigError("the service catalog has no image service")
    return GlanceClient(session, _strip_version(url), is_admin=_is_admin(session))


GlanceClientFactory = Callable[[str, str, float], GlanceClient]


def client_factory(load_config: Callable[[], CloudRegion] = load_cloud_config) -> GlanceClientFactory:
    """Return a function that builds a client from a URL, a caller's token and a timeout in seconds.

    All clients share one session, which has the certificates of the cloud. The configuration is read once, when the
    first client is built, so that none is required if the catalog is not a replica.
    """
    session = cache(lambda: load_config().get_session())
    return lambda url, token, timeout: GlanceClient(session(), url, token=token, timeout=timeout)


def _is_admin(session: Session) -> bool:
    """Return whether the token of the session's credentials has the admin role."""
    access = session.auth.get_access(session) if isinstance(session.auth, BaseIdentityPlugin) else None
    return access is not None and has_admin_role(access)


def _strip_version(url: str) -> str:
    base, _, last = url.rstrip("/").rpartition("/")
    return base if last.startswith("v") and last[1:].replace(".", "").isdigit() else url.rstrip("/")
