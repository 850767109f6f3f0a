"""The application: wiring, nothing else."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from connexion import FlaskApp
from connexion.exceptions import ProblemException
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.routing import RoutingMiddleware
from connexion.middleware.swagger_ui import SwaggerUIMiddleware
from connexion.resolver import Resolver
from flask import Response
from inflection import underscore
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app import images, metadata, service
from app.access_log import FORMATS, AccessLog
from app.answers import Answers
from app.bodies import Bodies
from app.bridge import OnTheLoop
from app.catalog import Catalog, Changes
from app.contract import Contract
from app.docs import Docs
from app.freshness import Freshness
from app.identity import ByToken, Identity, Open, OwnTokens
from app.middleware import Faults, RequestId, RoutedOnly, StrictRouting
from app.security import security_map
from app.settings import Settings
from app.validation import validator_map

# It would log an error for each unknown parameter, though told to ignore them, because the operations take **query.
logging.getLogger("connexion.decorators.parameter").setLevel(logging.CRITICAL)


_WRITERS = 8  # of one worker, that wait for an image service

Middleware = Callable[[ASGIApp], ASGIApp]
Lifespan = Callable[[object], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _nothing(_app: object) -> AsyncIterator[None]:
    yield


def create_app(settings: Settings, contract: Contract | None = None, lifespan: Lifespan = _nothing) -> FlaskApp:
    """Build the service. Raises CatalogUnavailable where there is no catalog."""
    contract = contract or Contract.load(secured=settings.auth != "none")
    catalog = Catalog(settings.catalog)
    identity = identity_of(settings, contract, catalog)
    freshness = Freshness(catalog, settings.stale_after if settings.stale_status == "203" else 0)
    changes, find_new = _changes(settings, catalog, identity)
    # What stands here where Connexion has its own.
    ours: dict[object, list[object]] = {
        SwaggerUIMiddleware: [Bodies, *([partial(Docs, contract=contract)] if settings.docs == "on" else [])],
        RoutingMiddleware: [StrictRouting, partial(RoutedOnly, contract=contract)],
    }
    app = FlaskApp(
        __name__,
        middlewares=[
            *_access_log(settings, contract),
            RequestId,
            partial(
                Answers,
                catalog=catalog,
                identity=identity,
                freshness=freshness,
                bound=settings.answers_mb * 1_000_000,
            ),
            *(one for each in ConnexionMiddleware.default_middlewares for one in ours.get(each, [each])),
            *find_new,
        ],
        resolver=Resolver(function_of),
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
        app.add_error_handler(error, Faults(contract).answer)
    app.middleware.app = OnTheLoop(app.app, writers=_WRITERS if find_new else 1)
    app.app.extensions |= {
        "catalog": catalog,
        "changes": changes,
        "freshness": freshness,
        "identity": identity,
        "settings": settings,
    }
    return app


def function_of(operation_id: str) -> Callable[..., Response]:
    """Find the function of an operation, by its name in Python's spelling."""
    name = underscore(operation_id)
    module = next((each for each in (images, metadata, service) if hasattr(each, name)), service)
    return getattr(module, name)  # type: ignore[no-any-return]


def identity_of(settings: Settings, contract: Contract, catalog: Catalog) -> Identity:
    """Make what tells who is calling, as the settings say. Raises KeystoneUnusable."""
    match settings.auth:
        case "none":
            return Open()
        case "token":
            return OwnTokens(catalog, contract.token_header)
    from app.keystone import KeystoneTokens  # noqa: PLC0415 which other modes need not have

    return KeystoneTokens(contract.token_header, settings)


def _changes(settings: Settings, catalog: Catalog, identity: Identity) -> tuple[Changes, list[Middleware]]:
    """Make what changes images, and what finds new ones: where tokens are Keystone's, both reach an image service."""
    if not isinstance(identity, ByToken) or settings.auth != "keystone":
        return Changes(catalog, tombstone_days=settings.tombstone_days), []
    # Which other modes need not have.
    from app.mirror.finding import FindNew  # noqa: PLC0415
    from app.mirror.glance import ways  # noqa: PLC0415
    from app.mirror.through import ThroughGlance  # noqa: PLC0415

    way = ways()
    changes = ThroughGlance(catalog, way, identity.refused, tombstone_days=settings.tombstone_days)
    return changes, [partial(FindNew, catalog=catalog, way=way, identity=identity)]


def _access_log(settings: Settings, contract: Contract) -> list[Middleware]:
    form = settings.access_log
    return [partial(AccessLog, contract=contract, form=form)] if form in FORMATS else []
