"""FastAPI, with pydantic models that accept what the contract accepts."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import FastAPI, Path, Query, Request
from pydantic import AnyUrl, AwareDatetime, BaseModel, ConfigDict, Field

from tests.bench.peers.rows import documents

_PROJECT_ID = "^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|openstack)$"

Status = Literal["ACTIVE", "SAVING", "DELETED", "ERROR", "UNKNOWN"]
Amount = Annotated[int, Field(ge=0, le=2147483647)]


class Model(BaseModel):
    """The base of all models: other fields are rejected."""

    model_config = ConfigDict(extra="forbid")


class Link(Model):
    """A link to an image or a server."""

    rel: Literal["self", "bookmark", "alternate", "next"]
    href: AnyUrl
    type: Literal["application/vnd.openstack.image"] | None = None


class Server(Model):
    """The server that an image was made from."""

    id: Annotated[str, Field(min_length=1)]
    links: Annotated[list[Link], Field(min_length=2, max_length=2)]


class Image(Model):
    """An image."""

    id: UUID
    name: str | None
    status: Status
    progress: Annotated[int, Field(ge=0, le=100)]
    created: AwareDatetime
    updated: AwareDatetime
    min_disk: Annotated[Amount, Field(alias="minDisk")]
    min_ram: Annotated[Amount, Field(alias="minRam")]
    size: Annotated[int, Field(alias="OS-EXT-IMG-SIZE:size", ge=0, le=9007199254740991)] = 0
    metadata: dict[str, str | None]
    server: Server | None = None
    links: Annotated[list[Link], Field(min_length=3, max_length=3)]


class ImageList(Model):
    """The response."""

    images: list[Image]


app = FastAPI()


@app.get("/v2/{tenant_id}/images/detail", response_model=ImageList, response_model_exclude_unset=True)
def list_images_details(
    request: Request,
    tenant_id: Annotated[str, Path(pattern=_PROJECT_ID)],
    changes_since: Annotated[datetime, Query(alias="changes-since")],
    limit: Annotated[int, Query(ge=0, le=1000)] = 1000,
    marker: UUID | None = None,
) -> Any:
    base = str(request.base_url).rstrip("/")
    since = f"{changes_since:%Y-%m-%dT%H:%M:%SZ}"
    return {"images": documents(base, tenant_id, since, limit, str(marker) if marker else None)}
