"""The model with which the responses of several machines are compared."""

import pytest

from tests.integration.postgresql.clients import Model


@pytest.mark.parametrize(
    ("shown", "problems"),
    [
        (3, []),
        (2, []),
        (1, ["stale: a response shows x 1 after 2"]),
        (4, ["impossible: a response shows x 4 before it was sent"]),
    ],
)
def test_response_is_compared_with_what_was_known_and_sent_before(shown: int, problems: list[str]) -> None:
    model = Model()
    assert [model.send("x") for _ in range(3)] == [1, 2, 3]
    model.see({"x": 2}, "an acknowledgement")
    least = model.known
    model.see({"x": 3}, "another response")
    model.see({"x": shown}, "a response", least)
    assert model.problems == problems
    assert model.known["x"] == max(3, shown)
