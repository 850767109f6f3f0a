"""The application: wiring, nothing else."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from connexion import FlaskApp
from connexion.exceptions import ProblemException
from connexion.middleware.context import ContextMiddleware
from connexion.middleware.exceptions import ExceptionMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.request_validation import RequestValidationMiddleware
from connexion.middleware.response_validation import ResponseValidationMiddleware
from connexion.middleware.security import SecurityMiddleware
from connexion.middleware.server_error import ServerErrorMiddleware
from connexion.resolver import Resolver
from flask import Response
from inflection import underscore
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app.api import health, images, metadata, versions
from app.auth.base import Authenticator, NoAuthenticator, TokenAuthenticator
from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.catalog.editor import ImageEditor
from app.catalog.sqlite.reader import CatalogReader
from app.contract.document import Contract
from app.framework.faults import FaultHandler
from app.framework.flask_app import FlaskDispatcher
from app.framework.routing import RouteGuardMiddleware, StrictRoutingMiddleware
from app.framework.security import security_map
from app.framework.validators import validator_map
from app.middleware.access_log import FORMATS, AccessLogMiddleware
from app.middleware.request_body import RequestBodyMiddleware
from app.middleware.request_id import RequestIdMiddleware
from app.middleware.response_cache import ResponseCache
from app.middleware.swagger_ui import SwaggerUIMiddleware
from app.mirror.staleness import StalenessMonitor
from app.settings import Settings

# It would log an error for each unknown parameter, though told to ignore them, because the operations take **query.
logging.getLogger("connexion.decorators.parameter").setLevel(logging.CRITICAL)


_MAX_UPSTREAM_WRITERS = 8  # of one worker, that wait for an image service

Middleware = Callable[[ASGIApp], ASGIApp]
Lifespan = Callable[[object], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _no_lifespan(_app: object) -> AsyncIterator[None]:
    yield


def create_app(settings: Settings, contract: Contract | None = None, lifespan: Lifespan = _no_lifespan) -> FlaskApp:
    """Build the service. Raises CatalogUnavailable where there is no catalog."""
    contract = contract or Contract.load(secured=settings.auth != "none")
    catalog = CatalogReader(settings.catalog)
    identity = create_authenticator(settings, contract, catalog)
    freshness = StalenessMonitor(catalog, settings.stale_after if settings.stale_status == "203" else 0)
    changes, find_new = _create_editor(settings, catalog, identity)
    app = FlaskApp(
        __name__,
        middlewares=[
            *_access_log(settings, contract),
            RequestIdMiddleware,
            partial(
                ResponseCache,
                catalog=catalog,
                identity=identity,
                freshness=freshness,
                bound=settings.answers_mb * 1_000_000,
            ),
            ServerErrorMiddleware,
            ExceptionMiddleware,
            RequestBodyMiddleware,
            *([partial(SwaggerUIMiddleware, contract=contract)] if settings.docs == "on" else []),
            StrictRoutingMiddleware,
            partial(RouteGuardMiddleware, contract=contract),
            SecurityMiddleware,
            RequestValidationMiddleware,
            ResponseValidationMiddleware,
            LifespanMiddleware,
            ContextMiddleware,
            *find_new,
        ],
        resolver=Resolver(resolve_operation),
        pythonic_params=True,
        strict_validation=settings.unknown_parameters == "reject",
        validate_responses=True,
        lifespan=lifespan,
        validator_map=validator_map(contract),
        security_map=security_map(identity),
    )
    # The document says where it is from: to Connexion, which would route by that, it is the root.
    app.add_api(contract.document | {"servers": [{"url": "/"}]})
    for error in (HTTPException, ProblemException, Exception):
        app.add_error_handler(error, FaultHandler(contract).answer)
    app.middleware.app = FlaskDispatcher(app.app, writers=_MAX_UPSTREAM_WRITERS if find_new else 1)
    app.app.extensions |= {
        "catalog": catalog,
        "changes": changes,
        "freshness": freshness,
        "identity": identity,
        "settings": settings,
    }
    return app


def resolve_operation(operation_id: str) -> Callable[..., Response]:
    """Find the function of an operation, by its name in Python's spelling."""
    name = underscore(operation_id)
    module = next((each for each in (health, images, metadata, versions) if hasattr(each, name)), versions)
    return getattr(module, name)  # type: ignore[no-any-return]


def create_authenticator(settings: Settings, contract: Contract, catalog: CatalogReader) -> Authenticator:
    """Make what tells who is calling, as the settings say. Raises KeystoneUnusable."""
    match settings.auth:
        case "none":
            return NoAuthenticator()
        case "token":
            return CatalogTokenAuthenticator(catalog, contract.token_header)
    from app.auth.keystone import KeystoneAuthenticator  # noqa: PLC0415 which other modes need not have

    return KeystoneAuthenticator(contract.token_header, settings)


def _create_editor(
    settings: Settings, catalog: CatalogReader, identity: Authenticator
) -> tuple[ImageEditor, list[Middleware]]:
    """Make what changes images, and what finds new ones: where tokens are Keystone's, both reach an image service."""
    if not isinstance(identity, TokenAuthenticator) or settings.auth != "keystone":
        return ImageEditor(catalog, tombstone_days=settings.tombstone_days), []
    # Which other modes need not have.
    from app.mirror.client import client_factory  # noqa: PLC0415
    from app.mirror.read_through import ReadThroughMiddleware  # noqa: PLC0415
    from app.mirror.write_through import WriteThroughEditor  # noqa: PLC0415

    way = client_factory()
    changes = WriteThroughEditor(catalog, way, identity.refused, tombstone_days=settings.tombstone_days)
    return changes, [partial(ReadThroughMiddleware, catalog=catalog, way=way, identity=identity)]


def _access_log(settings: Settings, contract: Contract) -> list[Middleware]:
    form = settings.access_log
    return [partial(AccessLogMiddleware, contract=contract, form=form)] if form in FORMATS else []
