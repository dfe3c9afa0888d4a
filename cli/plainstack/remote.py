"""What a playbook cannot do, over ssh: follow logs, a shell, a tunnel."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from inspect import getsource

from plainstack.inventories import Inventory, InventoryError, Server, ready

COLOURS = (36, 33, 35, 32, 34, 31)  # of terminals, one after the other for the servers
PATIENCE = 3  # seconds for a connection that a completion waits for
RELEASE = re.compile("[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
LONGEST = 4000  # characters of a line that are shown
LOGS = """
if uid=$(id -u {app} 2>/dev/null); then
    journalctl --follow --lines={lines} --output=short-iso-precise --no-hostname --all _UID="$uid" &
fi
{nginx}
wait
"""
# The app chooses what is in a line of nginx's, but not that it has its own name in that place
NGINX = """
tail --quiet --follow=name --retry --lines=0 /var/log/nginx/access.log /var/log/nginx/error.log 2>/dev/null | grep --line-buffered {patterns} &
"""


def inert(text: str) -> str:
    """The text of a line as no terminal acts on it."""
    return "".join(one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode("ascii") for one in text[:LONGEST])


def follow_script(app: str, domains: Iterable[str], lines: int) -> str:
    """What prints the lines of an app on a server as they come."""
    names = [one.replace(".", "[.]") for one in domains]
    patterns = [f"--regexp={shlex.quote(pattern)}" for one in names for pattern in (f'" {one} ', f'server: .*host: "{one}"')]
    return LOGS.format(app=shlex.quote(app), lines=lines, nginx=NGINX.format(patterns=" ".join(patterns)) if patterns else "")


def follow(inventory: Inventory, app: str, lines: int) -> int:
    """Print the logs of all servers as they come, until Ctrl-C, or the connections have ended."""
    servers = [inventory.server(name) for name in inventory.servers(balancers=True)]
    script = follow_script(app, inventory.apps().get(app, []), lines)
    width, colours = max(len(server.name) for server in servers), sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    running = [subprocess.Popen(server.command(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for server in servers]

    def show(place: int) -> None:
        head = servers[place].name.ljust(width)
        head = f"\x1b[{COLOURS[place % len(COLOURS)]}m{head}\x1b[0m" if colours else head
        with running[place].stdout or contextlib.nullcontext() as output:
            while line := output.readline(LONGEST) if output else b"":
                print(f"{head}  {inert(line.decode('utf-8', 'replace').rstrip())}", flush=True)

    threads = [threading.Thread(target=show, args=(place,), daemon=True) for place in range(len(servers))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = [process.wait() for process in running]
    except KeyboardInterrupt:
        return 0
    finally:
        for process in running:
            process.terminate()
    for server, code in zip(servers, codes, strict=True):
        print(f"{server.name}: the connection has ended (ssh says {code})", file=sys.stderr)
    return max(codes)


def enter(name: str) -> None:
    """Run on a server, as root: a shell in the live release of an app, in its directory, environment, user and sandbox."""
    import os
    import subprocess
    import sys

    try:
        live = os.path.basename(os.readlink(f"/srv/{name}/live.sock")).removesuffix(".sock")
    except OSError:
        sys.exit(f"{name}: no release is live here.")
    done = subprocess.run(["systemctl", "cat", f"{name}@{live}.service"], capture_output=True, encoding="utf-8", errors="replace", check=False)

    class Named:
        pass

    app = Named()
    app.name = name  # type: ignore[attr-defined]
    words = ["systemd-run", "--quiet", "--wait", "--collect", "--pty", f"--description=a shell of {name}, release {live}"]
    found = settings(done.stdout, app, live)  # type: ignore[name-defined]  # noqa: F821
    if done.returncode or f"User={name}" not in found:
        sys.exit(f"{name}: the unit of {live} cannot be read, and there is no sandbox without it: {done.stderr.strip()}")
    words += [f"--property={line}" for line in found]
    path = f"/srv/{name}/releases/{live}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    os.execvp(words[0], [*words, "/usr/bin/env", f"PATH={path}", f"PS1={name}:\\w\\$ ", "/bin/bash", "--norc", "-i"])


def console_script(app: str) -> str:
    """What opens that shell on a server."""
    ready()
    from ansible_collections.plainstack.web.plugins.module_utils.host import hook

    parts = ["from __future__ import annotations", f"OF_A_SERVICE = {hook.OF_A_SERVICE!r}", getsource(hook.settings), getsource(enter), f"enter({app!r})"]
    code = base64.b64encode("\n".join(parts).encode()).decode()
    return f"exec python3 -I -c 'import base64; exec(base64.b64decode(\"{code}\"))'"


def console(server: Server, app: str) -> int:
    """A shell in the live release; its exit status."""
    return subprocess.run(server.command(console_script(app), terminal=True), check=False).returncode


def releases(server: Server, app: str) -> list[str]:
    """Ids of the releases that a server has, the last first. Nothing is asked of a person, and no long time waited."""
    ssh, *words = server.command(f"ls --reverse {shlex.quote(f'/srv/{app}/releases')}")
    command = [ssh, "-o", "BatchMode=yes", "-o", f"ConnectTimeout={PATIENCE}", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=2 * PATIENCE, check=False)
    return [one for one in done.stdout.decode("ascii", "replace").split() if RELEASE.fullmatch(one)]


def tunnel_words(server: Server, here: int, there: str) -> list[str]:
    """The command of ssh.

    :param there: a port, `host:port` as the server sees it, or the path of a socket.
    :raises InventoryError: when it is none of them.
    """
    target = f"127.0.0.1:{there}" if there.isdecimal() else there
    host, _, port = target.rpartition(":")
    if not there.startswith("/") and not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise InventoryError(f"'{there}' is no port, no host:port and no path of a socket, such as 5432, 10.0.0.5:5432 or /run/postgresql/.s.PGSQL.5432.")
    ssh, *options, name = server.words
    return [ssh, "-N", "-o", "ExitOnForwardFailure=yes", *options, "-L", f"127.0.0.1:{here}:{target}", name]


def tunnel(server: Server, here: int, there: str) -> int:
    """A port of this machine that leads to one of the server, or to a socket there, until Ctrl-C."""
    words: Sequence[str] = tunnel_words(server, here, there)
    print(f"127.0.0.1:{here} leads to {there} of {server.name}, until Ctrl-C.", file=sys.stderr)
    try:
        return subprocess.run(words, check=False).returncode
    except KeyboardInterrupt:
        return 0
