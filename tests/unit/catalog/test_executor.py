"""Where requests wait for the catalog."""

import asyncio

import pytest

from app.catalog.errors import CatalogBusy, NotStarted, QueryTimeout, ReadLimitExceeded, TooManyQueries
from app.catalog.executor import ReadExecutor, Slots
from app.errors import DomainError
from tests.unit.catalog.conftest import OpenCatalog


def test_slots_are_taken_in_order_by_a_bounded_number_of_requests() -> None:
    async def take() -> list[int]:
        slots, taken = Slots(1, max_waiting=2), list[int]()

        async def wait(number: int) -> None:
            async with slots.take(10, CatalogBusy()):
                taken.append(number)
                await asyncio.sleep(0)

        async with slots.take(10, CatalogBusy()):
            waiting = [asyncio.create_task(wait(number)) for number in range(2)]
            await asyncio.sleep(0)
            assert slots.waiting == 2
            with pytest.raises(CatalogBusy):
                await wait(2)
            assert taken == []
        await asyncio.gather(*waiting)
        await wait(3)
        return taken

    assert asyncio.run(take()) == [0, 1, 3]


def test_slot_that_is_not_free_in_time_is_an_error() -> None:
    async def wait() -> int:
        slots = Slots(1)
        async with slots.take(10, CatalogBusy()):
            with pytest.raises(CatalogBusy):
                async with slots.take(0.01, CatalogBusy()):
                    pass
        async with slots.take(10, CatalogBusy()):
            return slots.waiting

    assert asyncio.run(wait()) == 0


@pytest.mark.parametrize(
    ("timeout", "limit", "error"),
    [(10, ReadLimitExceeded, QueryTimeout), (10, NotStarted, TooManyQueries), (0, ReadLimitExceeded, TooManyQueries)],
)
def test_read_that_mostly_waits_for_others_does_not_blame_the_query(
    open_catalog: OpenCatalog, timeout: int, limit: type[ReadLimitExceeded], error: type[DomainError]
) -> None:
    def read() -> None:
        raise limit

    with pytest.raises(error):
        asyncio.run(ReadExecutor(open_catalog("none"), timeout).run(read))
