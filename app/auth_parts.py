"""The parts of the application that depend on how callers are authenticated (IMAGES_AUTH)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from starlette.types import ASGIApp

from app.auth.base import Authenticator, NoAuthenticator
from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.catalog.editor import Editor, ImageEditor
from app.catalog.engine import Engine
from app.catalog.executor import ReadExecutor
from app.contract.document import Contract
from app.overrides import Overrides
from app.settings import Settings

_MAX_UPSTREAM_WRITERS = 8  # concurrent requests of one worker that change images in Glance


class AuthParts(NamedTuple):
    """The parts of one mode of authentication."""

    authenticator: Authenticator
    editor: Editor
    max_writers: int  # concurrent writes of one worker
    read_through: Callable[[ASGIApp], ASGIApp] | None = None  # middleware


def build_auth_parts(settings: Settings, contract: Contract, reads: ReadExecutor, overrides: Overrides) -> AuthParts:
    """Build the parts. Raises KeystoneConfigError."""
    if settings.auth == "keystone":
        return _build_keystone_parts(settings, contract, reads, overrides)
    authenticator: Authenticator = NoAuthenticator()
    if settings.auth == "token":
        authenticator = overrides.authenticator or CatalogTokenAuthenticator(
            reads, contract.token_header, clock=overrides.clock
        )
    return AuthParts(authenticator, _image_editor(settings, reads.engine, overrides), reads.engine.max_writers)


def _build_keystone_parts(
    settings: Settings, contract: Contract, reads: ReadExecutor, overrides: Overrides
) -> AuthParts:
    """Build the parts for Keystone tokens. Glance accepts these too, so reads and writes can be passed on to it."""
    # Imported here because only this mode requires the extra that installs openstacksdk.
    from app.auth.keystone import KeystoneAuthenticator, KeystoneClient  # noqa: PLC0415
    from app.mirror.cloud import client_factory  # noqa: PLC0415
    from app.mirror.read_through import ReadThroughMiddleware  # noqa: PLC0415
    from app.mirror.write_through import WriteThroughEditor  # noqa: PLC0415

    authenticator = overrides.authenticator or KeystoneAuthenticator(
        contract.token_header, KeystoneClient(), settings, clock=overrides.clock
    )
    glance = overrides.glance_client_factory or client_factory()
    editor = WriteThroughEditor(
        _image_editor(settings, reads.engine, overrides),
        reads.engine,
        glance,
        authenticator.unauthorized,
        tombstone_days=settings.tombstone_days,
        clock=overrides.clock,
    )
    read_through = partial(ReadThroughMiddleware, reads=reads, client_factory=glance, clock=overrides.clock)
    return AuthParts(authenticator, editor, _MAX_UPSTREAM_WRITERS, read_through)


def _image_editor(settings: Settings, engine: Engine, overrides: Overrides) -> ImageEditor:
    return ImageEditor(engine, tombstone_days=settings.tombstone_days, clock=overrides.clock)
