"""Builds the application from its parts."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

from connexion import FlaskApp
from connexion.exceptions import ProblemException
from connexion.middleware.exceptions import ExceptionMiddleware
from connexion.middleware.lifespan import LifespanMiddleware
from connexion.middleware.security import SecurityMiddleware
from connexion.resolver import Resolver
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app.api.context import EXTENSION, Services
from app.api.image_lists import ImageList, image_lists
from app.api.readiness import ReadinessMonitor
from app.auth.base import Authenticator
from app.auth_parts import AuthParts, build_auth_parts
from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.executor import ReadExecutor, Slots
from app.catalog.reader import CatalogReader
from app.contract.document import Contract
from app.framework.faults import FaultHandler
from app.framework.flask_app import FlaskDispatcher
from app.framework.routing import StrictRoutingMiddleware
from app.framework.security import TokenSecurityHandler
from app.framework.validation import ValidationMiddleware
from app.framework.validators import validator_map
from app.middleware.access_log import AccessLogMiddleware
from app.middleware.cross_origin import CORSMiddleware, origin_checks
from app.middleware.double import DoubleMiddleware
from app.middleware.request_body import RequestBodyMiddleware
from app.middleware.request_id import RequestIdMiddleware
from app.middleware.response_cache import CACHE_EXTENSION, ResponseCache, ResponseCacheMiddleware, ResponseStore
from app.middleware.swagger_ui import SwaggerUIMiddleware, swagger_ui_paths
from app.mirror.staleness import StalenessMonitor
from app.overrides import NO_OVERRIDES, Overrides
from app.settings import Settings

if TYPE_CHECKING:
    from app.middleware.metrics import Metrics

Middleware = Callable[[ASGIApp], ASGIApp]


@asynccontextmanager
async def _lifespan(engine: Engine, on_start: Callable[[], None], _app: object) -> AsyncIterator[None]:
    on_start()
    with closing(engine):
        yield


def create_app(
    settings: Settings,
    contract: Contract | None = None,
    *,
    on_start: Callable[[], None] = lambda: None,
    metrics: "Metrics | None" = None,
    overrides: Overrides = NO_OVERRIDES,
) -> FlaskApp:
    """Build the application. Raises CatalogUnavailable if there is no catalog, and KeystoneConfigError.

    `on_start` is called in the process that serves, before its first request.
    """
    contract = contract or Contract.load(secured=settings.auth != "none")
    reads = ReadExecutor(overrides.engine or open_catalog(settings.catalog), settings.query_timeout)
    reads.engine.connect()
    auth = build_auth_parts(settings, contract, reads, overrides)
    store = overrides.responses or ResponseStore(settings.response_cache_mb * 1_000_000)
    lists = image_lists(contract, max_bytes=store.max_bytes // 3)  # for each of two lists; the rest is for responses
    store.part_stores = [each.store for each in lists.values()]
    services = _services(settings, reads, auth, overrides, lists)
    cache = _response_cache(contract, reads.engine, services, auth.authenticator, store)
    writers = Slots(auth.max_writers)
    if metrics:
        metrics.connect(reads.engine, auth.authenticator, store, writers, clock=overrides.clock)
    app = FlaskApp(
        __name__,
        middlewares=list(filter(None, _middlewares(contract, services, auth, cache, metrics))),
        resolver=Resolver(overrides.resolve_operation),
        strict_validation=settings.unknown_parameters == "reject",
        lifespan=partial(_lifespan, reads.engine, on_start),
        validator_map=validator_map(contract),
        security_map={"apiKey": partial(TokenSecurityHandler, auth.authenticator)},
    )
    # Connexion uses the path of the document's server URL as a prefix of all routes.
    app.add_api(contract.document | {"servers": [{"url": "/"}]})
    _handle_errors(app, FaultHandler(contract, report_damage=services.catalog.report_damage))
    app.middleware.app = FlaskDispatcher(app.app, reads, writers, independent=contract.independent_paths)
    app.app.extensions |= {EXTENSION: services, CACHE_EXTENSION: cache}
    return app


def _handle_errors(app: FlaskApp, faults: FaultHandler) -> None:
    for error in (HTTPException, ProblemException, Exception):
        app.add_error_handler(error, faults.handle)


def _middlewares(
    contract: Contract, services: Services, auth: AuthParts, cache: ResponseCache, metrics: "Metrics | None"
) -> list[Middleware | None]:
    """Return the middleware in the order in which a request passes it. What the settings turn off is None."""
    settings, double = services.settings, services.double
    return [
        # First, because all others use the context that it creates.
        partial(RequestIdMiddleware, default_caller=auth.authenticator.default_caller),
        # Around the cache, whose responses are recorded and logged too, and do not depend on the page that reads them.
        metrics.record if metrics else None,
        partial(AccessLogMiddleware, contract=contract, settings=settings) if settings.logs_requests else None,
        partial(CORSMiddleware, origins=settings.cors_origins, contract=contract) if settings.cors_origins else None,
        partial(DoubleMiddleware, double=double, contract=contract) if double else None,
        # Before everything that takes time. It identifies callers by the cached results of token validations.
        partial(ResponseCacheMiddleware, cache=cache),
        # Around everything that raises errors. The faults pass through the cache, which does not store them. All
        # exceptions become faults here, so Connexion's ServerErrorMiddleware is left out.
        ExceptionMiddleware,
        # Behind the cache: its keys contain the host, and no response for a host that is not allowed is stored.
        *origin_checks(settings, auth.authenticator.header),
        RequestBodyMiddleware,  # before routing, because Connexion fails on malformed body headers
        # Before routing, because their paths are not in the contract.
        metrics.page if metrics else None,
        partial(SwaggerUIMiddleware, contract=contract, settings=settings) if settings.docs == "on" else None,
        partial(StrictRoutingMiddleware, contract=contract),
        # Before validation, so that only authenticated callers learn why a request is invalid.
        SecurityMiddleware if contract.secured_operations else None,
        ValidationMiddleware,
        # As in Connexion's own order, but without ContextMiddleware: it sets variables for Connexion's decorators,
        # which the operations do not have.
        LifespanMiddleware,
        auth.read_through,  # last, because it repeats only the operation, after fetching an image that was missing
    ]


def _services(
    settings: Settings, reads: ReadExecutor, auth: AuthParts, overrides: Overrides, lists: Mapping[str, ImageList]
) -> Services:
    stale_after = settings.stale_after if settings.stale_status == "203" else 0
    catalog = CatalogReader(reads.engine)
    return Services(
        settings=settings,
        catalog=catalog,
        editor=auth.editor,
        staleness=StalenessMonitor(reads, stale_after, clock=overrides.clock),
        readiness=ReadinessMonitor(settings, reads.engine, catalog, auth.authenticator, overrides.clock),
        image_lists=lists,
        double=overrides.double,
    )


def _response_cache(
    contract: Contract, engine: Engine, services: Services, authenticator: Authenticator, store: ResponseStore
) -> ResponseCache:
    return ResponseCache(
        store,
        engine,
        authenticator,
        services.staleness,
        independent=contract.independent_paths | (swagger_ui_paths() if services.settings.docs == "on" else set()),
        on_change=services.catalog.clear_damage,
    )
