"""The network between a service and its database, which a test can disturb."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536  # bytes


class Network:
    """Forwards the connections of a port to a server.

    Attributes and methods are for the thread of the test; the connections are forwarded by another one.
    """

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.delay = 0.0  # seconds in each direction, for the data that arrives from now on
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._is_forwarding = asyncio.Event()
        self._is_forwarding.set()
        self._listener: asyncio.Server | None = None
        self._connections = set[asyncio.StreamWriter]()

    @contextmanager
    def running(self) -> Iterator["Network"]:
        """Forward connections until the end of the block."""
        thread = threading.Thread(target=self._loop.run_forever, name="network")
        thread.start()
        try:
            self._await(self._listen)
            yield self
        finally:
            self._await(self._close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Forward nothing until the end of the block, as if packets were dropped. Connections stay open.

        The data that is sent meanwhile arrives after the block, because TCP would retransmit it.
        """
        self._await(self._silence)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._is_forwarding.set)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Reset all connections, and refuse new ones until the end of the block."""
        self._await(self._reset)
        try:
            yield
        finally:
            self._await(self._listen)

    def _await(self, function: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(function(), self._loop).result()

    async def _silence(self) -> None:
        self._is_forwarding.clear()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _reset(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for connection in self._connections:
            connection.transport.abort()

    async def _close(self) -> None:
        await self._reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection in both directions until both sides have closed it."""
        self._connections.add(writer)
        try:
            await self._is_forwarding.wait()
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            self._connections.add(server_writer)
            try:
                await asyncio.gather(self._forward(reader, server_writer), self._forward(server_reader, writer))
            finally:
                self._connections.remove(server_writer)
                server_writer.transport.abort()
        except (OSError, asyncio.CancelledError):  # refused by the server, reset by one side, or at the end of the test
            pass
        finally:
            self._connections.remove(writer)
            writer.transport.abort()

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Send the data of one side, and its end, to the other one after the delay."""
        queue = asyncio.Queue[tuple[float, bytes]]()
        sender = asyncio.create_task(self._send(queue, target))
        try:
            data = b"-"
            while data:
                data = await source.read(_CHUNK)
                queue.put_nowait((self._loop.time() + self.delay, data))
            await sender
        finally:
            sender.cancel()

    async def _send(self, queue: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - self._loop.time())
            await self._is_forwarding.wait()
            if not data:
                with suppress(OSError):
                    target.write_eof()
                return
            target.write(data)
