"""What each layer is for: the same load with it and without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from load import PLAIN, Tally, Target, at_once, fetch, probe, site, slow_clients, steady, throughput
from vms import FLOOR, STACK, BenchError, script

SLOW_CLIENTS = 200
PROBES, PROBE_PAUSE, PROBE_TIMEOUT = 100, 0.1, 2.0
KILL_CLIENTS, KILL_SECONDS, KILL_AFTER = 10, 8, 2
STATIC = "/static/style.css"

# What runs by itself on FLOOR's port 8000, from the floor's own environment
FLASK = "flask --app wsgi run --host 0.0.0.0 --port 8000"
FLASK_ALONE = f"{FLASK} --without-threads"
GUNICORN = (
    "gunicorn --worker-class gthread --workers $((2 * $(nproc) + 1)) --threads 4 --preload"
    " --worker-tmp-dir /dev/shm --no-control-socket --bind 0.0.0.0:8000 wsgi:app"
)
# Process ids: the master is the parent of the others
MASTER_OF_PLAIN = "systemctl show --property MainPID --value bench-plain.service"
MASTER_OF_FLOOR = "systemctl show --property MainPID --value hello.service"
MASTER_OF_STACK = "systemctl show --property MainPID --value hello@$(basename $(readlink /srv/hello/live)).service"


@dataclass
class Layers:
    """What was measured, by server. `ten`: seconds; `slow`: requests answered in time and their median in seconds, without
    and with slow clients; `static`: requests a second; `sent`: bytes of a static file for a browser; `killed`: by (server, what)."""

    ten: dict[str, list[float]] = field(default_factory=dict)
    slow: dict[str, tuple[int, float, int, float]] = field(default_factory=dict)
    static: dict[str, list[float]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    killed: dict[tuple[str, str], Tally] = field(default_factory=dict)


@asynccontextmanager
async def plain(command: str) -> AsyncIterator[Target]:
    """Run a server without nginx on FLOOR, as the app's user."""
    script(
        FLOOR,
        f"""
        cd /srv/hello/app
        systemd-run --quiet --collect --unit bench-plain --uid hello --working-directory /srv/hello/app \\
            --setenv PLAINSTACK_SHARED=/srv/hello/shared --setenv PATH=/srv/hello/venv/bin:/usr/bin:/bin \\
            --property LimitNOFILE=16384 /srv/hello/venv/bin/{command}
        """,
    )
    try:
        for _ in range(100):
            if (await fetch(PLAIN, "/healthz", 1))[0] == 200:
                break
            await asyncio.sleep(0.1)
        else:
            raise BenchError(f"does not answer on port 8000 of {FLOOR.name}: {command}")
        yield PLAIN
    finally:
        script(FLOOR, "systemctl kill --signal KILL bench-plain.service 2>/dev/null || true; systemctl stop bench-plain.service 2>/dev/null || true")


async def ten_at_once(target: Target, repeats: int) -> list[float]:
    """Seconds that ten requests of half a second take when they come together; often, because it depends on who gets which."""
    return [await at_once(target, "/slow?seconds=0.5", 10) for _ in range(repeats * 3)]


async def beside_slow_clients(target: Target) -> tuple[int, float, int, float]:
    """Quick requests that are answered in time, and their median in seconds: alone, and beside slow clients."""

    async def quick() -> tuple[int, float]:
        took = await probe(target, "/healthz", PROBES, PROBE_PAUSE, PROBE_TIMEOUT)
        return len(took), median(took) if took else 0.0

    alone = await quick()
    async with slow_clients(target, SLOW_CLIENTS):
        beside = await quick()
    return (*alone, *beside)


async def kill(target: Target, run: Callable[[str], str], master: str, worker: bool) -> Tally:
    """Kill the master or one worker with SIGKILL under a steady load, and look at what the clients see.

    :param run: runs a script on the VM.
    :param master: shell command that prints the master's process id.
    """
    # Two steps, so that the time that SSH needs is not between the choice and the kill of a worker
    victim = f"$(ps -o pid= --ppid $({master}) | head -1)" if worker else f"$({master})"

    async def event() -> None:
        await asyncio.to_thread(run, f"kill -KILL {victim}")

    return await steady(target, "/slow?seconds=0.05", KILL_CLIENTS, KILL_SECONDS, KILL_AFTER, event)


def on_floor(text: str) -> str:
    return script(FLOOR, text)


def on_stack(text: str) -> str:
    return script(STACK, text)


def settle(target: Target) -> None:
    """Wait until the server answers again after what was done to it."""
    deadline = time.monotonic() + 30
    while asyncio.run(fetch(target, "/healthz", 2))[0] != 200:
        if time.monotonic() > deadline:
            raise BenchError(f"port {target.port} does not answer any more")
        time.sleep(0.2)


async def without_nginx(result: Layers, repeats: int) -> None:
    """Flask's own server and Gunicorn by itself."""
    print("layers: flask run", flush=True)
    async with plain(FLASK) as target:
        result.ten["flask"] = await ten_at_once(target, repeats)
        result.slow["flask"] = await beside_slow_clients(target)
        result.killed["flask", "master"] = await kill(target, on_floor, MASTER_OF_PLAIN, worker=False)
    async with plain(FLASK_ALONE) as target:
        result.ten["flask alone"] = [await at_once(target, "/slow?seconds=0.5", 10)]
    print("layers: Gunicorn alone", flush=True)
    async with plain(GUNICORN) as target:
        result.ten["gunicorn"] = await ten_at_once(target, repeats)
        result.slow["gunicorn"] = await beside_slow_clients(target)
    async with plain(GUNICORN) as target:
        result.killed["gunicorn", "worker"] = await kill(target, on_floor, MASTER_OF_PLAIN, worker=True)
        result.killed["gunicorn", "master"] = await kill(target, on_floor, MASTER_OF_PLAIN, worker=False)


async def size(target: Target) -> int:
    """Bytes of the static file as a browser gets it."""
    return len((await fetch(target, STATIC, 5, "Accept-Encoding: gzip, deflate, br\r\n"))[1])


def measure(repeats: int, seconds: int) -> Layers:
    """Measure on the VMs as the deploys have left them."""
    result = Layers()
    floor, stack = site(FLOOR), site(STACK)
    asyncio.run(without_nginx(result, repeats))
    print("layers: the floor and the deployed stack", flush=True)
    result.ten["stack"] = asyncio.run(ten_at_once(stack, repeats))
    result.slow["stack"] = asyncio.run(beside_slow_clients(stack))
    for name, target, run, master in (("floor", floor, on_floor, MASTER_OF_FLOOR), ("stack", stack, on_stack, MASTER_OF_STACK)):
        for worker in (True, False):
            result.killed[name, "worker" if worker else "master"] = asyncio.run(kill(target, run, master, worker))
            settle(target)
    print("layers: static files", flush=True)
    for _ in range(repeats):
        result.static.setdefault("flask", []).append(throughput(FLOOR, STATIC, seconds))
        result.static.setdefault("nginx", []).append(throughput(STACK, STATIC, seconds))
    result.sent = {"flask": asyncio.run(size(floor)), "nginx": asyncio.run(size(stack))}
    return result
