"""Where the files that travel with the service are: the contract and the sample data."""

from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeDumper as _Dumper
    from yaml import CSafeLoader as _Loader  # ten times as fast, which half of the start is
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeDumper as _Dumper  # type: ignore[assignment]
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

# Text of several lines stays so.
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)

_PACKAGE = Path(__file__).parent


def resource_path(name: str) -> Path:
    """Find a file by its name in the checkout, such as `openapi/compute-images.yaml`.

    An installed package holds these folders; in a checkout, and so in an editable install, they lie beside it.
    """
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


def load_yaml(text: bytes) -> Any:
    """Read YAML."""
    return yaml.load(text, _Loader)


def dump_yaml(document: Any) -> bytes:
    """Write YAML."""
    return yaml.dump(document, Dumper=_Dumper, encoding="utf-8", allow_unicode=True, sort_keys=False, width=120)
