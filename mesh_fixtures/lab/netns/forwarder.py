"""Makes a lab's API servers reachable from this machine without routing the lab to it.

The listening sockets belong to the machine's loopback; they are inherited by this program, which
runs inside the lab's router namespace, so the connections that it opens start there.

Usage: python forwarder.py DESCRIPTOR=HOST:PORT ...

A HOST of IPv6 is in brackets.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

_CHUNK = 65536


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(ConnectionError, RuntimeError, OSError):
        writer.write_eof() if writer.can_write_eof() else writer.close()


async def _serve(listener: socket.socket, host: str, port: int) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()

    server = await asyncio.start_server(forward, sock=listener)
    await server.serve_forever()


async def _main(arguments: list[str]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for argument in arguments:
            descriptor, target = argument.split("=")
            host, port = target.rsplit(":", 1)
            listener = socket.socket(fileno=int(descriptor))
            tasks.create_task(_serve(listener, host.strip("[]"), int(port)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
