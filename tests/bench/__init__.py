"""A benchmark of the service against other servers: `python -m tests.bench`."""


class BenchError(Exception):
    """The benchmark cannot continue."""
