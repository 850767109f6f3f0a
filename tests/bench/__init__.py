"""What the service costs, beside what others cost: `python -m tests.bench`."""


class BenchError(Exception):
    """The benchmark cannot go on."""
