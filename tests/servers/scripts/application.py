"""An HTTP application under uvicorn: CERTIFICATE PORT TLS-PORT."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from uvicorn import Config, Server

Event = dict[str, Any]


async def body_size(receive: Callable[[], Awaitable[Event]]) -> int:
    """Receive the body of a request, and return its size."""
    size, more = 0, True
    while more:
        event = await receive()
        size += len(event.get("body", b""))
        more = event.get("more_body", False)
    return size


async def application(
    scope: Event,
    receive: Callable[[], Awaitable[Event]],
    send: Callable[[Event], Awaitable[None]],
) -> None:
    """Answer a request, as `tests.servers.web` says."""
    asked = {name: int(value[-1]) for name, value in query(scope).items()}
    size = await body_size(receive)
    await asyncio.sleep(asked.get("wait", 0))
    if scope["method"] == "POST":
        answer = b"received %d bytes\n" % size
    else:
        answer = b"x" * asked.get("size", 0)
    length = (b"content-length", b"%d" % len(answer))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": answer})


def query(scope: Event) -> dict[str, list[str]]:
    """Return the parameters of a request."""
    return parse_qs(scope["query_string"].decode())


async def main(certificate: str, http: int, https: int) -> None:
    """Serve until the process is ended."""
    common: dict[str, Any] = {"log_level": "warning", "lifespan": "off", "loop": "none"}
    tls: dict[str, Any] = {"ssl_certfile": certificate, "ssl_keyfile": certificate}
    configurations = (
        Config(application, port=http, **common),
        Config(application, port=https, **common, **tls),
    )
    await asyncio.gather(*(Server(each).serve() for each in configurations))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
