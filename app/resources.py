"""Files that ship with the service: the contract, the sample data and Swagger UI."""

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeDumper as _Dumper
    from yaml import CSafeLoader as _Loader  # ten times as fast as SafeLoader; loading is half of the start-up time
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeDumper as _Dumper  # type: ignore[assignment]
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

# Write multi-line text as a block, not as one line with escaped line breaks.
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)

_PACKAGE = Path(__file__).parent


def resource_path(name: str) -> Path:
    """Return the path of a file by its name in the repository, such as `openapi/compute-images.yaml`.

    An installed package contains these folders; in a checkout or an editable install they are next to it.
    """
    installed = _PACKAGE / name
    return installed if installed.exists() else _PACKAGE.parent / name


@cache
def version() -> str:
    """Return the version of compute-images."""
    return metadata.version("compute-images")


def load_yaml(text: bytes) -> Any:
    """Return the document that a YAML text contains."""
    return yaml.load(text, _Loader)


def dump_yaml(document: Any) -> bytes:
    """Return a document as YAML, in the order of its keys."""
    return yaml.dump(document, Dumper=_Dumper, encoding="utf-8", allow_unicode=True, sort_keys=False, width=120)
