"""How a client is asked: by a line of JSON for each call, answered by one that holds what the client told."""

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

Operations = Mapping[str, Callable[..., Any]]


def answer(
    connect: Callable[[str], Operations],
    error: type[Exception],
    describe: Callable[[Any], tuple[int, str]],
) -> None:
    """Call operations until the input ends: those of an endpoint, whose errors have a status and a message."""
    connected = cache(connect)
    for line in sys.stdin:
        url, operation, args, kwargs = json.loads(line)
        try:
            answer = {"told": connected(url)[operation](*args, **kwargs)}
        except error as refused:
            answer = {"refused": [type(refused).__name__, *describe(refused)]}
        print(json.dumps(answer), flush=True)  # noqa: T201 the answer
