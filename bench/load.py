"""Clients: many requests at once, slow ones, steady ones while something is killed, and h2load for requests a second."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from vms import PLAIN_PORT, UNVERIFIED, VM, BenchError, command

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
BROKEN = (OSError, EOFError, ValueError, TimeoutError)


@dataclass(frozen=True)
class Target:
    """A server on 127.0.0.1; `name` is its site's, for TLS and the Host header."""

    port: int
    name: str
    tls: bool = True


PLAIN = Target(PLAIN_PORT, "floor.test", tls=False)


def site(vm: VM) -> Target:
    """The site of a VM, over HTTPS."""
    return Target(vm.https_port, vm.domain)


async def connect(target: Target) -> Streams:
    """A new connection."""
    if target.tls:
        return await asyncio.open_connection("127.0.0.1", target.port, ssl=UNVERIFIED, server_hostname=target.name)
    return await asyncio.open_connection("127.0.0.1", target.port)


async def exchange(streams: Streams, target: Target, path: str, headers: str = "") -> tuple[int, bytes, bool]:
    """One request on a connection: status, body, and whether the connection may be used again.

    :raises BROKEN: one of them, when no whole answer comes.
    """
    reader, writer = streams
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {target.name}\r\n{headers}\r\n".encode())
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = dict(re.findall(r"^([^:\r\n]+):[ \t]*(.*?)\r$", head.lower(), re.MULTILINE))
    whole = True
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while length := int((await reader.readline()).split(b";")[0], 16):
            body += (await reader.readexactly(length + 2))[:-2]
        await reader.readline()
    elif "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        body, whole = await reader.read(), False
    return int(head.split(" ", 2)[1]), body, whole and head.startswith("HTTP/1.1") and fields.get("connection") != "close"


async def fetch(target: Target, path: str, timeout: float, headers: str = "") -> tuple[int, bytes]:
    """One request on a connection of its own; status 0 when no answer comes in time."""
    writer = None
    try:
        async with asyncio.timeout(timeout):
            streams = await connect(target)
            writer = streams[1]
            status, body, _ = await exchange(streams, target, path, headers)
            return status, body
    except BROKEN:
        return 0, b""
    finally:
        if writer:
            writer.transport.abort()


async def at_once(target: Target, path: str, count: int) -> float:
    """Seconds until `count` requests that began together are all answered with 200."""
    began = time.monotonic()
    answers = await asyncio.gather(*(fetch(target, path, 30) for _ in range(count)))
    if any(status != 200 for status, _ in answers):
        raise BenchError(f"port {target.port} did not answer {path} {count} times with 200: {sorted(status for status, _ in answers)}")
    return time.monotonic() - began


@asynccontextmanager
async def slow_clients(target: Target, count: int) -> AsyncIterator[None]:
    """Hold `count` connections that send a body of 1000 bytes, one byte a second."""

    async def dawdle() -> None:
        with suppress(*BROKEN):
            _, writer = await connect(target)
            try:
                writer.write(f"POST /api/whoami HTTP/1.1\r\nHost: {target.name}\r\nContent-Length: 1000\r\n\r\n".encode())
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1)
            finally:
                writer.transport.abort()

    tasks = [asyncio.create_task(dawdle()) for _ in range(count)]
    try:
        await asyncio.sleep(2)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def probe(target: Target, path: str, count: int, pause: float, timeout: float) -> list[float]:
    """Begin a request every `pause` seconds; the seconds of those that were answered with 200 in time."""
    took: list[float] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number * pause)
        began = time.monotonic()
        if (await fetch(target, path, timeout))[0] == 200:
            took.append(time.monotonic() - began)

    await asyncio.gather(*(one(number) for number in range(count)))
    return took


@dataclass
class Tally:
    """What clients under a steady load saw; `silence` is the longest time in seconds without a good answer to anyone."""

    good: int = 0
    failed: int = 0
    slowest: float = 0
    silence: float = 0
    alive: bool = False
    last: float = field(default_factory=time.monotonic)

    def answered(self, took: float) -> None:
        """Count a good answer."""
        now = time.monotonic()
        self.good += 1
        self.slowest = max(self.slowest, took)
        self.silence = max(self.silence, now - self.last)
        self.last = now


async def steady(target: Target, path: str, clients: int, seconds: float, after: float, event: Callable[[], Awaitable[None]]) -> Tally:
    """Clients that ask one request after the other, on connections that they keep, while `event` happens after some seconds.

    A failed request is counted, not asked again; its client goes on 50 ms later. `alive` says whether the last second had answers.
    """
    tally = Tally()
    end = time.monotonic() + seconds

    async def client() -> None:
        streams: Streams | None = None
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                async with asyncio.timeout(10):
                    streams = streams or await connect(target)
                    status, _, again = await exchange(streams, target, path)
                if status != 200:
                    raise ValueError(status)
                tally.answered(time.monotonic() - began)
            except BROKEN:
                tally.failed += 1
                again = False
                await asyncio.sleep(0.05)
            if not again and streams:
                streams[1].transport.abort()
                streams = None
        if streams:
            streams[1].transport.abort()

    async def happen() -> None:
        await asyncio.sleep(after)
        await event()

    await asyncio.gather(happen(), *(client() for _ in range(clients)))
    now = time.monotonic()
    tally.alive = now - tally.last < 1
    tally.silence = max(tally.silence, now - tally.last)
    return tally


def throughput(vm: VM, path: str, seconds: int, clients: int = 20) -> float:
    """Requests a second over HTTPS, on kept connections (HTTP/1.1), as h2load counts them after a warm-up of about a second.

    With a number of requests and not with a duration: with `--duration`, h2load sometimes hangs.

    :raises BenchError: when one of them failed.
    """
    rate = requests(vm, path, 50 * clients, clients)
    rate = requests(vm, path, max(clients, int(rate)), clients)
    return requests(vm, path, max(clients, int(rate * seconds)), clients)


def requests(vm: VM, path: str, count: int, clients: int) -> float:
    """Requests a second while sending that many."""
    uri = f"https://{vm.domain}{path}"
    arguments = ["h2load", "--h1", f"--clients={clients}", "--threads=1", f"--requests={count}", f"--connect-to=127.0.0.1:{vm.https_port}"]
    output = command([*arguments, uri], limit=120)
    rate = re.search(r"finished in \S+, ([\d.]+) req/s", output)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    if not (rate and failed and codes) or any(int(number) for number in (*failed.groups(), *codes.groups()[1:])):
        raise BenchError(f"{output}\nh2load saw failed requests to {vm.name}")
    return float(rate[1])
