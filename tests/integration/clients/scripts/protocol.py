"""The protocol of the scripts: a line of JSON for each call, and one for its result or error."""

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

Operations = Mapping[str, Callable[..., Any]]


def serve(
    connect: Callable[[str], Operations], error: type[Exception], describe: Callable[[Any], tuple[int, str]]
) -> None:
    """Call the operations that standard input names. `describe` returns status and message of an error."""
    connected = cache(connect)
    for line in sys.stdin:
        url, operation, args, kwargs = json.loads(line)
        try:
            response = {"result": connected(url)[operation](*args, **kwargs)}
        except error as raised:
            response = {"error": [type(raised).__name__, *describe(raised)]}
        print(json.dumps(response), flush=True)  # noqa: T201 the protocol
