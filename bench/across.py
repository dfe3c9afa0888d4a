"""What a deploy is like for those who are connected by a WebSocket, and for jobs of a worker."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from load import BROKEN, Streams, Target, connect, fetch
from many import certificate
from vms import ROOT, STACK, BenchError, playbook, script

CLIENTS = 20
EVERY = 0.05  # seconds between two messages of a client
JOB = 20  # seconds of the long job
ORDERED = 0.1  # seconds between two short ones
CHAT, SHOP = STACK.domain, "shop.test"


@dataclass
class Across:
    """Seconds of the deploys; of the clients the messages that were answered and those that were not, and the seconds without a connection;
    seconds between two short jobs at most, and whether the long one ended in the release in which it began."""

    deploys: list[float] = field(default_factory=list)
    answered: int = 0
    unanswered: int = 0
    away: list[float] = field(default_factory=list)
    pause: float = 0
    jobs: int = 0
    ended: bool = False


async def _open(target: Target) -> tuple[Streams, str]:
    """A WebSocket, and the release that it leads to."""
    streams = await connect(target)
    reader, writer = streams
    key = base64.b64encode(os.urandom(16)).decode()
    asks = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    writer.write(f"GET /ws HTTP/1.1\r\nHost: {target.name}\r\n{asks}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise ConnectionError(head.split(b"\r\n")[0].decode())
    return streams, await _heard(reader)


async def _heard(reader: asyncio.StreamReader) -> str:
    """The next message, of less than 126 bytes; a ping needs no answer in so short a time."""
    while True:
        kind, length = await reader.readexactly(2)
        data = await reader.readexactly(length & 0x7F)
        if kind & 0x0F == 1:
            return data.decode()
        if kind & 0x0F == 8:
            raise ConnectionError("closed")


def _frame(text: str) -> bytes:
    mask, data = os.urandom(4), text.encode()
    return bytes([0x81, 0x80 | len(data)]) + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


async def _talk(target: Target, over: asyncio.Event, result: Across) -> set[str]:
    """A client that sends and connects anew at once; the releases that it has talked to."""
    releases: set[str] = set()
    lost = 0.0
    while not over.is_set():
        try:
            async with asyncio.timeout(20):
                streams, release = await _open(target)
        except BROKEN:
            await asyncio.sleep(0.05)
            continue
        releases.add(release)
        if lost:
            result.away.append(time.monotonic() - lost)
        last = time.monotonic()
        try:
            while not over.is_set():
                streams[1].write(_frame("hello"))
                result.unanswered += 1
                async with asyncio.timeout(20):
                    await _heard(streams[0])
                result.unanswered -= 1
                result.answered += 1
                last = time.monotonic()
                await asyncio.sleep(EVERY)
        except BROKEN:
            lost = last
        finally:
            streams[1].transport.abort()
    return releases


async def _order(target: Target, over: asyncio.Event) -> None:
    """Short jobs, one after the other."""
    number = 0
    while not over.is_set():
        await _ordered(target, f"short{number}", 0)
        number += 1
        await asyncio.sleep(ORDERED)


async def _ordered(target: Target, name: str, seconds: int) -> None:
    streams = await connect(target)
    try:
        streams[1].write(f"POST /orders/{name}/{seconds} HTTP/1.1\r\nHost: {target.name}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        if b" 200 " not in (await streams[0].readuntil(b"\r\n")):
            raise BenchError(f"the job {name} was not taken")
    finally:
        streams[1].transport.abort()


def _deploy(apps: list[dict[str, object]]) -> float:
    began = time.monotonic()
    playbook("deploy.yml", "--extra-vars", json.dumps({"apps": apps}), "--extra-vars", "replace=app0,hello")
    return time.monotonic() - began


def _apps(work: Path, word: str) -> list[dict[str, object]]:
    sources = ROOT / "molecule" / "apps" / "sources"
    own = {"certificate": str(work / "own.crt"), "certificate_key": str(work / "own.key"), "health_path": "/healthz", "workers": 2, "timeout": 5}
    chat = {"name": "chat", "source": str(sources / "chat"), "module": "chat:app", "server": "asgi", "domains": [CHAT], "env": {"GREETING": word}}
    worker = {"command": "huey_consumer shop.tasks.huey --workers 2", "stop_signal": "SIGINT", "stop_timeout": 60}
    shop = {"name": "shop", "source": str(sources / "shop"), "module": 'shop:create_app("a shop", currency="EUR")', "domains": [SHOP]}
    env = {"PYTHONPATH": "src", "CONFIG": "/srv/.release/src/shop/tasks.py", "NOTE": word}
    return [{**chat, **own}, {**shop, **own, "env": env, "processes": {"worker": worker}}]


async def _across(work: Path, result: Across, word: str) -> None:
    """One deploy with everybody there."""
    chat, shop, over = Target(STACK.https_port, CHAT), Target(STACK.https_port, SHOP), asyncio.Event()
    await _ordered(shop, "long", JOB)
    clients = [asyncio.create_task(_talk(chat, over, result)) for _ in range(CLIENTS)]
    orders = asyncio.create_task(_order(shop, over))
    await asyncio.sleep(1)
    result.deploys.append(await asyncio.to_thread(_deploy, _apps(work, word)))
    await asyncio.sleep(JOB)
    over.set()
    met = [await client for client in clients]
    await orders
    if any(len(releases) != 2 for releases in met):
        raise BenchError(f"not every client has talked to both releases: {met}")


def _judge(result: Across) -> None:
    """What the worker has noted."""
    lines = [re.split(" ", line, maxsplit=2) for line in script(STACK, "cat /srv/shop/shared/jobs").splitlines()]
    short = sorted(float(moment) for moment, _release, what in lines if what.startswith("begins short"))
    long = {what: release for _moment, release, what in lines if what.endswith(" long")}
    result.jobs, result.pause = len(short), max(later - earlier for earlier, later in itertools.pairwise(short))
    result.ended = len(long) == 2 and len({*long.values()}) == 1


def measure(work: Path) -> Across:
    """Measure on the VM that deploy.yml has set up already; all other apps of it give way.

    :param work: empty directory for the certificate.
    """
    result = Across()
    certificate(work, [CHAT, SHOP])
    print("across a deploy", flush=True)
    script(STACK, "systemctl stop 'app*@*' 'hello@*'")  # they would need the memory
    _deploy(_apps(work, "one"))
    if asyncio.run(fetch(Target(STACK.https_port, CHAT), "/healthz", 5))[0] != 200:
        raise BenchError("the chat does not answer")
    asyncio.run(_across(work, result, "two"))
    _judge(result)
    return result
