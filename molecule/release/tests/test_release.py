"""Every way to change what is live, under load, on one server after the other: no request fails, and none waits for the app to start.

The tests of a server belong together and run in this order: each goes on from what the one before has left.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from testinfra.host import Host

from clients import KINDS, Load, Target
from parts import Log, figures, write
from server import Server, lock, site_of
from support import RESULTS, Connection, Run, name_of, ports
from vm import wait

INVENTORY = Path(__file__).parents[1] / "inventory"
SERVERS = 2
ENOUGH = 50_000  # responses on each of them
PARTS = 8
AT_MOST = 120  # seconds to go on after the last part, until there are as many
BOOT = 3  # seconds that a release takes to import
LOAD = (
    f"{len(KINDS)} clients ask without end, each one request after the other with a pause of a few milliseconds, over HTTPS with a verified certificate: "
    f"{sum(kind.kept for kind in KINDS)} on kept connections, the others on a new one each; half with GET, half with POST and a body of 10 kB."
)
STREAM = '''@pages.get("/stream")
def stream() -> Response:
    """Lines without an end, sent as they are made."""

    def lines() -> Iterator[str]:
        while True:
            yield f"{current_app.config['RELEASE']}\\n"
            time.sleep(0.2)

    return Response(stream_with_context(lines()), headers={"X-Accel-Buffering": "no"})


@pages.app_errorhandler'''


# What other tools make: a plain unit that binds its socket itself. Everything else is as in the release
NAIVE_UNIT = """[Service]
Type=notify
User=hello
Group=hello
UMask=0007
RuntimeDirectory=naive
WorkingDirectory={release}
Environment=PLAINSTACK_RELEASE=naive PLAINSTACK_SHARED=/srv/hello/shared
ExecStart={release}/.venv/bin/gunicorn --worker-class gthread --workers 4 --threads 4 --preload --timeout 22 --graceful-timeout 22 \
    --max-requests 1000 --max-requests-jitter 100 --worker-tmp-dir /dev/shm --no-control-socket --bind unix:/run/naive/naive.sock wsgi:app
KillMode=mixed
Restart=always
"""
NAIVE_SITE = """upstream naive {{ server unix:/run/naive/naive.sock fail_timeout=0; }}
server {{
    listen 444 ssl;
    server_name {name};
    ssl_certificate /etc/letsencrypt/live/hello/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/hello/privkey.pem;
    location / {{ proxy_pass http://naive; }}
}}
"""


@pytest.fixture(scope="session")
def logs() -> Iterator[list[Log]]:
    """One of each server on which everything went well; written down when it did on all."""
    done: list[Log] = []
    yield done
    if len(done) == SERVERS:
        write(done, RESULTS / "releases.md", LOAD)


@pytest.fixture(scope="module")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory, pebble_root: str, logs: list[Log], request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server, under load from the first test on to the last one; then its figures are printed."""
    directory = tmp_path_factory.mktemp("server")
    (directory / "root.pem").write_text(pebble_root, encoding="utf-8")
    (directory / "clients").mkdir()
    target = Target(f"hello.{name_of(host)}.test", ports(host)[443], str(directory / "root.pem"))
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with Load(target, directory / "clients") as load:
        tested = Server(host, site_of(host, INVENTORY, directory), load)
        yield tested
        tested.site.end()
    log = tested.log
    log.responses = list(load.responses())
    with capture.global_and_fixture_disabled():
        print(f"\n{log.system}\n\n{log.table()}\n")
    if log.good(PARTS, ENOUGH):
        logs.append(log)


def assets(server: Server, number: int) -> str:
    """Give the source the static files of its next release, and take away those of the one before; the name of the hashed one."""
    static = server.site.source / "hello" / "static"
    for old in static.glob("app.*.css"):
        old.unlink()
    content = f"/* release {number} */\n"
    name = f"app.{hashlib.sha256(content.encode()).hexdigest()[:12]}.css"
    (static / name).write_text(content, encoding="utf-8")
    (static / "number.txt").write_text(f"{number}\n", encoding="utf-8")
    return name


def get(server: Server, path: str, name: str = "") -> tuple[int, bytes, dict[str, object]]:
    """Status, body and certificate of one request beside the load."""
    connection = connect(server, name)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(), connection.certificate
    finally:
        connection.close()


def connect(server: Server, name: str = "") -> Connection:
    target = server.load.target
    return Connection(name or target.name, target.port, ssl.create_default_context(cafile=target.root))


def good(run: Run) -> None:
    assert run.code == 0, run.output[-3000:]


def test_new_code(server: Server) -> None:
    """From here on the app takes a while to import, as real ones do; nobody waits for it."""
    time.sleep(5)  # the load alone
    server.site.edit("wsgi.py", "app = create_app()", f"__import__('time').sleep({BOOT})\napp = create_app()")
    mark = secrets.token_hex(8)
    server.site.edit("hello/templates/index.html", "<h1", f'<h1 data-mark="{mark}"')
    server.site.edit("hello/views.py", "@pages.app_errorhandler", STREAM)
    server.site.edit("hello/views.py", "import time\n", "import time\nfrom collections.abc import Iterator\n")
    server.site.edit("hello/views.py", "render_template, request\n", "render_template, request, stream_with_context\n")
    assets(server, 1)
    with server.part("deploy of new code"):
        good(server.site.deploy())
    assert mark.encode() in get(server, "/")[1]


@dataclass
class Slow:
    """A request that takes long: when it ended, and what came."""

    began: float
    seconds: float
    ended: float = 0
    status: int = 0
    release: str = ""
    error: str = ""


def ask_slowly(server: Server, slow: Slow) -> None:
    try:
        slow.status, body, _ = get(server, f"/slow?seconds={slow.seconds}")
        slow.release = json.loads(body)["release"] if slow.status == 200 else ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        slow.error = repr(error)
    slow.ended = time.monotonic()


def read_stream(server: Server, slow: Slow) -> None:
    connection = connect(server)
    connection.request("GET", "/stream")
    answer = connection.getresponse()
    slow.status = answer.status
    try:
        while line := answer.readline():
            slow.release, slow.ended = line.decode().strip(), time.monotonic()
    except (OSError, http.client.HTTPException) as error:
        slow.error = repr(error)
    connection.close()


def test_changed_dependencies_and_requests_that_take_long(server: Server) -> None:
    """A request of 20 s survives; a stream without an end is cut when `timeout` is over, not before."""
    old, package = server.live(), server.story()["packages"]["click"]
    lock(server.site.source, f"click<{package}")
    server.site.app["max_requests"] = 1000  # from here on workers are replaced under load, too; one that is cuts its streams
    first = next((server.site.source / "hello" / "static").glob("app.*.css")).name
    second = assets(server, 2)
    stream = Slow(time.monotonic(), 0)
    slow: list[Slow] = []
    threads = [threading.Thread(target=read_stream, args=(server, stream))]
    threads[0].start()
    over = threading.Event()

    def keep_asking() -> None:
        # Two at a time and the stream: fewer than a worker has threads, and than there are workers (see the inventory)
        while not over.is_set():
            slow.append(Slow(time.monotonic(), 20))
            threads.append(threading.Thread(target=ask_slowly, args=(server, slow[-1])))
            threads[-1].start()
            over.wait(10.5)

    asking = threading.Thread(target=keep_asking)
    with server.part("deploy that changes dependencies"):
        asking.start()
        try:
            good(server.site.deploy())
        finally:
            over.set()
    for thread in [asking, *threads]:
        thread.join()
    assert server.story()["packages"]["click"] != package
    part = server.log.parts[-1]
    switched, stopped = part.window[0] + 1, part.window[1] - 1
    assert [one for one in slow if one.status != 200] == []
    across = [one for one in slow if one.release == old and one.began < switched < one.ended - 8]
    assert across, f"no request of 20 s was half done at the switch, {switched}: {slow}"
    timeout = server.site.app["timeout"]
    assert (stream.status, stream.release) == (200, old), stream
    assert timeout - 0.5 <= stream.ended - switched <= timeout + 5, f"the stream was cut {stream.ended - switched:.1f} s after the switch"
    assert max(one.ended for one in across) < stopped + 1
    # A page of the old release finds its own files; a name without a digest means the live release's
    assert [get(server, f"/static/{name}")[0] for name in (first, second)] == [200, 200]
    assert get(server, "/static/number.txt")[1] == b"2\n"


def test_changed_environment(server: Server) -> None:
    server.site.app["env"] = {"GREETING": "under load"}
    with server.part("deploy with a changed environment"):
        good(server.site.deploy())
    assert json.loads(get(server, "/api/whoami")[1])["greeting"] == "under load"


def test_number_of_workers(server: Server) -> None:
    assert server.workers() == 4
    server.site.app["workers"] = 3
    assets(server, 3)
    with server.part("change of the number of workers"):
        good(server.site.deploy())
    assert server.workers() == 3


def test_rollback(server: Server) -> None:
    left = server.live()
    newest = next((server.site.source / "hello" / "static").glob("app.*.css")).name
    with server.part("rollback"):
        good(server.site.rollback())
    assert server.workers() == 4
    assert server.live() < left
    # Who has a page of the release that was left still gets its files
    assert get(server, f"/static/{newest}")[0] == 200
    assert get(server, "/static/number.txt")[1] == b"2\n"


def test_renewal(server: Server) -> None:
    """By certbot's own unit, as its timer starts it."""
    unit = "/run/systemd/system/certbot.service.d"
    command = "certbot -q renew --force-renewal --no-random-sleep-on-renew"
    before = server.serial()
    server.host.check_output(f"mkdir -p {unit} && printf '[Service]\\nExecStart=\\nExecStart={command}\\n' > {unit}/now.conf && systemctl daemon-reload")
    with server.part("renewal of the certificate", switches=False, reloads=True):
        server.host.check_output("systemctl start certbot.service")
        after = server.serial()
        wait("the renewed certificate", lambda: get(server, "/healthz")[2]["serialNumber"] == after)
        time.sleep(1)
    assert after != before


def test_added_domain(server: Server) -> None:
    name = f"www.{server.load.target.name}"
    server.site.app["domains"].append(f"www.{server.site.app['domains'][0]}")
    # What was rolled back would be deployed with it; a user has the code that is live in the source
    server.site.app["workers"] = 4
    assets(server, 2)
    with server.part("added domain", switches=False, reloads=True):
        good(server.site.deploy())
        time.sleep(1)
    status, _, certificate = get(server, "/healthz", name)
    names = {value for kind, value in certificate["subjectAltName"] if kind == "DNS"}  # type: ignore[attr-defined]
    assert (status, names) == (200, {name, server.load.target.name})


def test_broken_release(server: Server) -> None:
    server.site.edit("hello/views.py", 'return "ok", 200, text', 'return "not well", 500, text')
    server.site.app["start_timeout"] = BOOT + 5
    with server.part("deploy of a broken release", switches=False):
        run = server.site.deploy()
    assert run.code != 0
    assert "/healthz answered 500" in run.output


def test_enough_responses_and_none_too_late(server: Server) -> None:
    server.finish(ENOUGH, AT_MOST)
    assert len(server.log.parts) == PARTS, "a part is missing, see above"
    assert figures(server.log.responses).failed == 0
    assert server.log.too_slow() == []


def test_a_naive_restart_does_fail_requests(server: Server, tmp_path: Path) -> None:
    """The control: the same load on the same app notices when its process is simply replaced, so it would have noticed above."""
    unit, snippet = NAIVE_UNIT.format(release=f"/srv/hello/releases/{server.live()}"), NAIVE_SITE.format(name=server.load.target.name)
    server.host.check_output(f"cat > /run/systemd/system/naive.service <<'EOF'\n{unit}EOF\n")
    server.host.check_output(f"cat > /etc/nginx/conf.d/naive.conf <<'EOF'\n{snippet}EOF\n")
    server.host.check_output("systemctl daemon-reload && systemctl start naive.service && nginx -t -q && systemctl reload nginx.service")
    target = replace(server.load.target, port=ports(server.host)[444])
    time.sleep(1)
    with Load(target, tmp_path) as load:
        for _ in range(2):
            time.sleep(2)
            server.host.check_output("systemctl restart naive.service")
        time.sleep(2)
    server.log.control = load.responses()
    assert figures(server.log.control).failed > 0, "the load does not notice a restart: it measures nothing"
    assert figures(server.log.control).responses > 1000, "the control does not work at all"
