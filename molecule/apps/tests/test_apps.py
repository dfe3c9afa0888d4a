"""Apps of other kinds, as their users see them."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.client
import ipaddress
import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host, get_host

from running import again_and_again, alone_inventory, deploy, live_release, site, until
from support import Connection, Request, name_of, ports, unchecked
from websocket import WebSocket

SCENARIO = Path(__file__).resolve().parents[1]
BOTH = pytest.mark.parametrize("app", ["chat", "live"])
ADA = {"Authorization": f"Basic {base64.b64encode(b'ada:lovelace').decode()}"}
EACH = pytest.mark.parametrize("app", ["chat", "live", "raw"])


def about(https: Request, name: str) -> dict[str, object]:
    told: dict[str, object] = json.loads(https(name, "/about").body)
    return told


@pytest.fixture
def alone(host: Host, tmp_path: Path) -> Path:
    """The scenario's inventory with this server alone."""
    return alone_inventory(SCENARIO, name_of(host), tmp_path / "inventory")


@pytest.mark.parametrize(("app", "worker"), [("chat", "asgi"), ("live", "uvicorn_worker.UvicornWorker")])
def test_an_asgi_app_runs_on_the_worker_that_it_brings(host: Host, https: Request, app: str, worker: str) -> None:
    name = site(host, app)
    release = host.check_output("basename $(readlink /srv/%s/live)", app)
    # Behind nginx it sees the address that the visitor has typed, and its lifespan has begun
    told = about(https, name)
    assert ipaddress.ip_address(str(told.pop("client")))
    assert told == {"release": release, "greeting": "hello", "begun": True, "url": f"https://{name}/about", "upgrade": None}
    assert f"Using worker: {worker}" in host.check_output("journalctl --unit=%s@%s.service --output=cat", app, release)


def test_settings_of_gunicorn_are_given_on(host: Host) -> None:
    """The journal shows what only the level `debug` logs."""
    assert "[DEBUG]" in host.check_output("journalctl --unit='chat@*.service' --output=cat")


@EACH
def test_events_come_as_they_are_sent(host: Host, https: Request, app: str) -> None:
    began = time.monotonic()
    answer = https(site(host, app), "/events")
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
    assert answer.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert time.monotonic() - began > 1


@BOTH
def test_a_websocket_is_open_longer_than_a_request_may_take(host: Host, pebble_root: str, app: str) -> None:
    """`timeout` is 5 s."""
    with WebSocket(site(host, app), ports(host)[443], "/ws", pebble_root) as websocket:
        assert websocket.receive() == host.check_output("basename $(readlink /srv/%s/live)", app)
        websocket.send("before")
        assert websocket.receive() == "before"
        time.sleep(8)
        websocket.send("after")
        assert websocket.receive() == "after"


def test_another_protocol_is_not_handed_on(host: Host, https: Request) -> None:
    """An app that spoke HTTP/2 without TLS could be asked past nginx."""
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": ""}
    assert json.loads(https(site(host, "chat"), "/about", headers=headers).body)["upgrade"] is None


def test_a_factory_is_called_with_its_arguments(host: Host, https: Request) -> None:
    """It lies in src/, and finds the Debian package that it needs."""
    assert about(https, site(host, "shop")) == {"name": "a 'shop'", "currency": "EUR", "tree": "/usr/bin/tree", "release": live(host)}


def test_an_alias_leads_to_the_domain(host: Host, https: Request, http_: Request) -> None:
    """With a certificate of its own name, and first to HTTPS."""
    name = site(host, "shop")
    answer = https(f"www.{name}", "/about?a=%20b")
    assert (answer.status, answer.headers["location"]) == (301, f"https://{name}/about?a=%20b")
    assert http_(f"www.{name}", "/about").headers["location"] == f"https://www.{name}/about"


def test_headers(host: Host, https: Request) -> None:
    headers = https(site(host, "shop"), "/about").headers
    assert (headers["permissions-policy"], headers["x-robots-tag"]) == ('camera=(self "https://a.test")', "noindex")
    assert "x-frame-options" not in headers
    assert headers["x-content-type-options"] == "nosniff"
    assert https(site(host, "chat"), "/about").headers["x-frame-options"] == "DENY"


@EACH
def test_a_websocket_across_a_deploy(host: Host, https: Request, pebble_root: str, alone: Path, app: str) -> None:
    """The open one works until its release ends, a new one comes to the new release, and no request fails."""
    name, port = site(host, app), ports(host)[443]
    before = host.check_output("basename $(readlink /srv/%s/live)", app)
    with WebSocket(name, port, "/ws", pebble_root) as websocket:
        assert websocket.receive() == before

        def echo() -> str:
            websocket.send("hello")
            return websocket.receive()

        with again_and_again(lambda: str(about(https, name)["release"])) as answers, again_and_again(echo) as echoes:
            done = deploy("-i", str(alone), "-e", f"app={app}", "-e", "chat_greeting=again")
            assert done.returncode == 0, done.stdout[-3000:]
    after = host.check_output("basename $(readlink /srv/%s/live)", app)
    assert {release for _time, release in answers} == {before, after}
    began = next(moment for moment, release in answers if release == after)
    assert next(said for moment, said in echoes if moment > began) == "hello", "it was cut by the switch"
    assert "failed" in echoes[-1][1], "the old release never ended"
    with WebSocket(name, port, "/ws", pebble_root) as websocket:
        assert websocket.receive() == after
    assert host.run("systemctl is-active %s@%s.service", app, before).stdout.strip() == "inactive"


@pytest.mark.parametrize(
    ("app", "server", "said"), [("chat", "wsgi", "is an ASGI app: write 'server: asgi'"), ("shop", "asgi", "is a WSGI app: write 'server: wsgi'")]
)
def test_the_wrong_kind_of_server_is_named(host: Host, https: Request, alone: Path, app: str, server: str, said: str) -> None:
    """Long before `start_timeout` is over."""
    file = alone / "group_vars/all/apps.yml"
    apps = yaml.safe_load(file.read_text(encoding="utf-8"))["apps"]
    [one] = [one for one in apps if one["name"] == app]
    one.update(server=server, start_timeout=600)
    file.write_text(yaml.safe_dump({"apps": apps}), encoding="utf-8")
    done = deploy("-i", str(alone), "-e", f"app={app}")
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split())
    assert https(site(host, app), "/healthz").status == 200


def test_a_package_that_does_not_exist_is_named_before_anything_is_built(host: Host, https: Request, alone: Path) -> None:
    before = host.check_output("ls /srv/shop/releases")
    file = alone / "group_vars/all/apps.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("[tree]", "[tree, no-such-package]"), encoding="utf-8")
    done = deploy("-i", str(alone), "-e", "app=shop")
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "Unable to locate package no-such-package" in said
    assert "'packages' of an app" in said
    assert host.check_output("ls /srv/shop/releases") == before
    assert https(site(host, "shop"), "/healthz").status == 200


def test_what_an_app_is_given(host: Host, https: Request) -> None:
    """The address of the visitor, its release under a name that does not change, a home, and limits."""
    told = json.loads(https(site(host, "shop"), "/around", headers={"X-Real-IP": "192.0.2.1", "X-Forwarded-For": "192.0.2.1"}).body)
    assert ipaddress.ip_address(told["address"]) != ipaddress.ip_address("192.0.2.1")
    assert told["config"] == (SCENARIO / "sources/shop/src/shop/tasks.py").read_text(encoding="utf-8")
    assert (told["temporary"], told["files"]) == (10 * 2**20, 1000)
    for unit in (f"shop@{live(host)}.service", f"shop.worker.1@{live(host)}.service"):
        shown = host.check_output("systemctl show --property=CPUQuotaPerSecUSec --property=TasksMax %s", unit)
        assert sorted(shown.splitlines()) == ["CPUQuotaPerSecUSec=1.500000s", "TasksMax=200"]


def test_what_was_built_here_and_there(host: Host, https: Request) -> None:
    name = site(host, "shop")
    assert int(https(name, "/assets/size.txt").body) == (SCENARIO / "sources/shop/src/shop/tasks.py").stat().st_size
    assert https(name, "/made/built.txt").body == b"flask a note\n"
    assert host.check_output("stat --format=%U:%G:%a /srv/shop/live/made/built.txt") == "root:shop:644"


def test_redirects_and_own_directives(host: Host, https: Request) -> None:
    name = site(host, "shop")
    assert [https(name, path).headers["location"] for path in ("/old", "/elsewhere")] == [f"https://{name}/about", "https://example.com/a?b=c"]
    assert (https(name, "/old").status, https(name, "/own").body) == (301, b"own\n")


def test_too_many_requests_of_one_visitor(host: Host, https: Request) -> None:
    """Files do not count, and another app of the server is not limited."""
    name = site(host, "shop")

    def several(path: str) -> set[int]:
        """Over one connection: a handshake for each would be too slow for the limit, on a busy machine."""
        found = set()
        with contextlib.closing(Connection(name, ports(host)[443], unchecked())) as connection:
            for _turn in range(60):
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                found.add(answer.status)
        return found

    def ask(path: str) -> set[int]:
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            return set().union(*pool.map(several, [path] * 10))

    assert ask("/assets/size.txt") == {200}
    assert ask("/healthz") == {200, 429}
    until("it is over", lambda: https(name, "/healthz").status == 200)
    name = site(host, "live")
    assert ask("/healthz") == {200}


def from_the_server(host: Host, name: str, path: str, ports: str = "1024-65535") -> int:
    """Status of a request from the server itself, over 127.0.0.1, with one of these source ports."""
    local = f"--local-port {ports} --resolve {name}:443:127.0.0.1"
    asked = f"curl --silent --insecure --output /dev/null --write-out '%{{http_code}}' {local} https://{name}{path}"
    return int(host.check_output(asked))


def test_other_networks(host: Host, https: Request, http_: Request, alone: Path) -> None:
    """They get 403, with the site's own page; so does an app on the server. The health check goes on, and so does ACME."""
    name, page = site(host, "shop"), alone / "refused.html"
    page.write_text("Not from there.", encoding="utf-8")
    edit(alone, lambda shop: shop.update(error_pages={403: str(page)}))
    for networks, status in ((["192.0.2.0/24"], 403), (["192.0.2.0/24", "0.0.0.0/0"], 200)):
        edit(alone, lambda shop, networks=networks: shop.update(allow=networks))
        deployed = deploy("-i", str(alone), "-e", "app=shop")
        assert deployed.returncode == 0, deployed.stdout[-3000:]
        assert {https(name, path).status for path in ("/about", "/assets/size.txt")} == {status}
        assert from_the_server(host, name, "/about") == status
        assert (b"Not from there." in https(name, "/about").body) == (status == 403)
    assert http_(name, "/.well-known/acme-challenge/none").status == 404
    edit(alone, lambda shop: (shop.pop("error_pages"), shop.update(allow=["192.0.2.0/24"])))
    assert deploy("-i", str(alone), "-e", "app=shop").returncode == 0
    assert https(name, "/old").status == 403
    assert [from_the_server(host, name, "/about", ports) for ports in ("1-79", "81-99", "700-799")] == [200, 403, 403]
    edit(alone, lambda shop: shop.pop("allow"))
    assert deploy("-i", str(alone), "-e", "app=shop").returncode == 0


def test_a_request_has_an_id(host: Host, https: Request) -> None:
    """The app, the client and nginx's log have the same; a client has no say in it."""
    name, given = site(host, "shop"), "0123456789abcdef"
    answer = https(name, "/bin/headers?show_env=1", headers={"X-Request-ID": given})
    found = answer.headers["x-request-id"]
    assert (json.loads(answer.body)["headers"]["X-Request-Id"], found == given) == (found, False)
    assert len({found, https(name, "/assets/size.txt").headers["x-request-id"], given}) == 3
    [line] = host.check_output("grep %s /var/log/nginx/access.log", found).splitlines()
    assert line.endswith(f" unix:/srv/httpbin/live.sock {found}")


def test_a_package_on_a_path(host: Host, https: Request) -> None:
    """Its links have the prefix, and it sees the visitor."""
    name = site(host, "shop")
    told = json.loads(https(name, "/bin/get?a=1").body)
    assert (told["url"], told["args"]) == (f"https://{name}/bin/get?a=1", {"a": "1"})
    assert https(name, "/bin/redirect/1").headers["location"] == "/bin/get"
    assert json.loads(host.check_output("cat /srv/httpbin/live/release.json"))["source"] == "httpbin==0.10.2"


def test_a_project_that_is_installed_itself(host: Host, https: Request) -> None:
    """With its extras and groups, on gevent, with Gunicorn's own file; its instance folder is the shared one."""
    told = json.loads(https(site(host, "board"), "/about", headers=ADA).body)
    release = live(host, "board")
    assert told == {"version": "1.2", "group": "tabulate", "sockets": "gevent._socket3", "hook": "called", "release": release}
    assert "[DEBUG]" in host.check_output("journalctl --unit='board@*.service' --output=cat")
    assert https(site(host, "board"), "/note", "POST", headers=ADA).body.decode() == f"/srv/board/releases/{release}/.venv/var/board-instance"
    assert host.check_output("cat /srv/board/shared/instance/note") == "noted"
    assert host.package("pkgconf").is_installed


def test_a_password_is_asked_for(host: Host, https: Request) -> None:
    """Of visitors, for files too; the health check went on, or the app would not be live. Apps cannot read whose they are."""
    name = site(host, "board")
    assert {https(name, path).status for path in ("/about", "/made/zero.txt", "/healthz")} == {401}
    assert https(name, "/about", headers={"Authorization": "Basic YWRhOndyb25n"}).status == 401
    assert https(name, "/made/zero.txt", headers=ADA).status == 200
    assert [from_the_server(host, name, "/about", ports) for ports in ("1024-65535", "81-99", "1-79")] == [401, 401, 200]
    assert host.check_output("stat --format=%U:%G:%a /etc/nginx/passwords/board") == "root:www-data:640"


def test_own_error_pages(host: Host, https: Request) -> None:
    name = site(host, "board")
    answer = https(name, "/nowhere", headers=ADA)
    assert (answer.status, b"The board has no such page." in answer.body) == (404, True)
    unit = f"board@{live(host, 'board')}"
    host.check_output("systemctl stop %s.socket %s.service", unit, unit)
    try:
        answer = https(name, "/about", headers=ADA)
        assert (answer.status, b"The board is away." in answer.body, answer.headers["retry-after"]) == (502, True, "10")
        assert b"Back in a moment" not in answer.body
    finally:
        host.check_output("systemctl start %s.socket %s.service", unit, unit)
    until("it is back", lambda: https(name, "/about", headers=ADA).status == 200)


def test_files_that_are_compressed_already(host: Host, https: Request) -> None:
    answer = https(site(host, "board"), "/made/zero.txt", headers={**ADA, "Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) == int(host.check_output("stat --format=%s /srv/board/live/made/zero.txt.gz")) == int(answer.headers["content-length"])
    assert len(https(site(host, "board"), "/made/zero.txt", headers=ADA).body) == 5000


def test_behind_a_proxy_that_is_trusted(host: Host, https: Request, http_: Request, alone: Path) -> None:
    """It says who the visitor is and that he came over HTTPS; who asks by the address gets the app's health. Without it nobody is believed."""
    name, said = site(host, "shop"), {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    begin = ("-i", str(alone), "-e", "app=shop")
    trusted = json.dumps({"nginx_trusted_proxies": ["0.0.0.0/0"]})
    deployed = deploy(*begin, "-e", trusted)
    assert deployed.returncode == 0, deployed.stdout[-3000:]
    assert json.loads(http_(name, "/around", headers=said).body)["address"] == "192.0.2.7"
    assert json.loads(http_(name, "/bin/get", headers=said).body)["url"] == f"https://{name}/bin/get"
    for given, kept in (("a-1b2c3d4e5f", True), ("short", False), ("a b c d e f g h", False), ("a" * 65, False)):
        told = json.loads(http_(name, "/bin/headers?show_env=1", headers={**said, "X-Request-ID": given}).body)["headers"]
        assert (told["X-Request-Id"] == given) is kept
    for local in ("127.0.0.1", "::1"):  # gives nobody what only a health check has
        assert json.loads(http_(name, "/around", headers={**said, "X-Forwarded-For": local}).body)["address"] == local
    assert http_(name, "/old", headers=said).headers["location"] == f"https://{name}/about"
    assert http_(name, "/about").headers["location"] == f"https://{name}/about"
    assert http_(name, "/.well-known/acme-challenge/none").status == 404
    assert json.loads(https(name, "/around", headers=said).body)["address"] == "192.0.2.7"
    assert (http_("127.0.0.1", "/anything").status, http_("127.0.0.1", "/anything").body) == (200, b'{"status":"ok"}')
    assert "changed=0" in deploy(*begin, "-e", trusted).stdout
    deployed = deploy(*begin)
    assert deployed.returncode == 0, deployed.stdout[-3000:]
    assert json.loads(https(name, "/around", headers=said).body)["address"] != "192.0.2.7"
    assert http_(name, "/around", headers=said).status == 301
    with pytest.raises(http.client.HTTPException):
        http_("127.0.0.1", "/anything")


def test_an_app_on_part_of_the_servers(host: Host, https: Request) -> None:
    """The others have nothing of it."""
    if name_of(host) == "debian12":
        assert json.loads(https("single.debian12.test", "/get").body)["url"] == "https://single.debian12.test/get"
        return
    assert not host.file("/srv/single").exists
    assert "single" not in host.file("/etc/nginx/sites.conf").content_string
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        https("single.debian12.test", "/get")


@pytest.fixture
def jobs() -> Host:
    """The server that runs nothing but processes."""
    return get_host(f"ansible://jobs13?ansible_inventory={SCENARIO / 'inventory'}&sudo=true")


def test_a_worker_server(host: Host, https: Request, jobs: Host) -> None:
    """It has the release, and of it only what is to run there; nobody can connect to it but by SSH."""
    if name_of(host) != "debian12":  # which does not have the app
        return
    release = live(host, "single")
    assert live(jobs, "single") == release
    assert jobs.service(f"single.jobs.1@{release}.service").is_running
    assert jobs.service(f"single.jobs.1@{release}.service").is_enabled
    assert not host.service(f"single.jobs.1@{release}.service").is_running
    assert jobs.check_output("ls /srv") == "single"
    assert not jobs.package("nginx").is_installed
    assert {line.split()[3].rpartition(":")[2] for line in jobs.check_output("ss --no-header --listening --tcp --numeric").splitlines()} == {"22"}
    settings = f"/etc/plainstack/single/{release}/gunicorn.conf.py"
    assert [one.check_output("grep '^workers = ' %s", settings) for one in (host, jobs)] == ["workers = 2", "workers = 1"]


def test_a_release_that_fails_on_a_worker_server(host: Host, https: Request, jobs: Host) -> None:
    """It goes back everywhere; and the same command with what works goes live everywhere."""
    if name_of(host) != "debian12":  # which does not have the app
        return
    release = live(host, "single")
    begin = ("-i", str(SCENARIO / "inventory"), "-e", "app=single")
    failed = deploy(*begin, "-e", "nap=soon")
    said = " ".join((failed.stdout + failed.stderr).split())
    assert failed.returncode != 0
    assert "its process 'jobs' ended" in said
    assert "invalid time interval" in said
    assert [live(one, "single") for one in (host, jobs)] == [release, release]
    assert jobs.service(f"single.jobs.1@{release}.service").is_running
    assert https("single.debian12.test", "/get").status == 200
    deployed = deploy(*begin, "-e", "nap=1000000")
    assert deployed.returncode == 0, deployed.stdout[-3000:]
    [fresh] = {live(one, "single") for one in (host, jobs)}
    assert fresh != release
    again = deploy(*begin, "-e", "nap=1000000").stdout
    assert re.findall(r"changed=\d+", again) == ["changed=0"], again[-3000:]
    back = deploy(*begin, playbook="rollback.yml")
    assert back.returncode == 0, back.stdout[-3000:]
    assert [live(one, "single") for one in (host, jobs)] == [release, release]
    until("the other release's process has ended", lambda: not jobs.service(f"single.jobs.1@{fresh}.service").is_running)


def test_a_source_from_git(host: Host, https: Request, alone: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(SCENARIO / "sources/shop", repository, ignore=shutil.ignore_patterns("__pycache__"))

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.com", "-C", str(repository), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (repository / "from-git").write_text("", encoding="utf-8")  # otherwise the content is that of the live release, and nothing is built
    git("init", "--quiet", "--initial-branch=main")
    git("add", "--all")
    git("commit", "--quiet", "--message=first")
    git("tag", "v1.0")
    init = repository / "src/shop/__init__.py"
    init.write_text(init.read_text(encoding="utf-8").replace('"tree":', '"version": 2, "tree":'), encoding="utf-8")
    git("commit", "--quiet", "--all", "--message=second")
    edit(alone, lambda shop: shop.update(source=f"file://{repository}"))
    name, before = site(host, "shop"), live(host)
    for arguments, ref, version in (((), "main", 2), (("-e", "ref=v1.0"), "v1.0", None), (("-e", f"ref={git('rev-parse', 'main')}"), "main", 2)):
        deployed = deploy("-i", str(alone), "-e", "app=shop", *arguments)
        assert deployed.returncode == 0, deployed.stdout[-3000:]
        assert about(https, name).get("version") == version
        story = json.loads(host.check_output("cat /srv/shop/live/release.json"))
        assert (story["source"], story["revision"], story["dirty"]) == (f"file://{repository}", git("rev-parse", ref), False)
    assert "changed=0" in deploy("-i", str(alone), "-e", "app=shop").stdout
    releases = host.check_output("ls /srv/shop/releases")
    deployed = deploy("-i", str(alone), "-e", "app=shop", "-e", "ref=v1.1")
    assert deployed.returncode != 0
    said = " ".join((deployed.stdout + deployed.stderr).split())
    assert f"nothing was touched. file://{repository} has no branch, tag or commit 'v1.1'; did you mean 'v1.0'? Where it is set: -e ref" in said
    assert host.check_output("ls /srv/shop/releases") == releases
    assert before in releases


# What runs beside the web server


def live(host: Host, app: str = "shop") -> str:
    return live_release(host, app)


def beside(host: Host) -> dict[str, str]:
    """Units of the processes and timers of the shop that have not ended, and their state."""
    lines = host.check_output("systemctl list-units --plain --no-legend --state=active,activating,deactivating 'shop.*@*'").splitlines()
    return {line.split()[0]: line.split()[2] for line in lines}


def belonging(host: Host) -> set[str]:
    """Releases of the shop to which anything that works beside it belongs."""
    return {unit.split("@")[1].rsplit(".", 1)[0] for unit in beside(host) if not unit.startswith("shop.tick@") or unit.endswith(".timer")}


def noted(host: Host, file: str) -> list[tuple[float, str, str]]:
    """Lines of a file in the shared directory: time, release, what."""
    lines = host.check_output("cat /srv/shop/shared/%s", file).splitlines()
    return [(float(moment), release, what) for moment, release, what in (line.split(" ", 2) for line in lines)]


def order(host: Host, https: Request, name: str, seconds: int) -> None:
    assert https(site(host, "shop"), f"/orders/{name}/{seconds}", "POST").status == 200


def done(host: Host, name: str) -> list[str]:
    """Releases that have ended a job."""
    return [release for _moment, release, what in noted(host, "jobs") if what == f"ends {name}"]


def edit(alone: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the shop in the inventory."""
    file = alone / "group_vars/all/apps.yml"
    apps = yaml.safe_load(file.read_text(encoding="utf-8"))["apps"]
    [shop] = [app for app in apps if app["name"] == "shop"]
    change(shop)
    file.write_text(yaml.safe_dump({"apps": apps}), encoding="utf-8")


def test_processes_and_timers_run_in_the_sandbox(host: Host, https: Request) -> None:
    identifier = live(host)
    units = {unit: state for unit, state in beside(host).items() if not unit.startswith("shop.tick@") or unit.endswith(".timer")}
    names = ("clock.alone", "worker.1", "worker.2")
    assert {*units} == {*(f"shop.{name}@{identifier}.service" for name in names), f"shop.tick@{identifier}.timer"}
    for name in names:
        unit = f"shop.{name}@{identifier}.service"
        assert float(re.findall(r"[0-9]+\.[0-9]+", host.check_output("systemd-analyze security --no-pager %s | tail -1", unit))[-1]) <= 1.5
        process = host.check_output("systemctl show --value --property=MainPID %s", unit)
        # Of a shell the signal to stop would get no further
        assert host.check_output("cat /proc/%s/comm", process) in ("python", "huey_consumer")
        assert host.check_output("stat --format=%%U /proc/%s", process) == "shop"
    order(host, https, "one", 0)
    until("a worker works", lambda: host.file("/srv/shop/shared/jobs").exists and done(host, "one") == [identifier])
    until("the timer runs it", lambda: (identifier, "a note 50% \\ it's") in {(release, what) for _moment, release, what in noted(host, "ticks")})


def test_a_job_survives_a_deploy(host: Host, https: Request, alone: Path) -> None:
    """The old worker ends it while the new one works, and no request fails; what may not overlap does not."""
    before = live(host)
    order(host, https, "long", 40)  # longer than a deploy on a busy machine takes
    until("a worker has begun", lambda: noted(host, "jobs")[-1][2] == "begins long")
    with again_and_again(lambda: str(about(https, site(host, "shop"))["release"])) as answers:
        deployed = deploy("-i", str(alone), "-e", "app=shop", "-e", "note=another")
    assert deployed.returncode == 0, deployed.stdout[-3000:]
    after = live(host)
    assert {release for _time, release in answers} == {before, after}
    assert done(host, "long") == [], "the deploy waited for the job"
    order(host, https, "short", 0)
    until("the new worker works", lambda: done(host, "short") == [after])
    assert done(host, "long") == []
    until("the old one ends its job", lambda: done(host, "long") == [before], 60)
    until("nothing of the old release is left", lambda: belonging(host) == {after})
    assert host.run("systemctl is-enabled shop@%s.target", after).stdout.strip() == "enabled"
    assert host.run("systemctl is-enabled shop@%s.target", before).stdout.strip() == "disabled"
    assert [(release, what) for _moment, release, what in noted(host, "clock")][-3:] == [(before, "begins"), (before, "ends"), (after, "begins")]
    began = noted(host, "clock")[-1][0]
    until("the timer has gone on", lambda: len([what for moment, _release, what in noted(host, "ticks") if moment > began]) > 1)
    assert {(release, what.split(" 50")[0]) for moment, release, what in noted(host, "ticks") if moment > began} == {(after, "another")}


def test_a_process_that_ends_takes_the_release_back(host: Host, https: Request, alone: Path) -> None:
    before = live(host)

    def break_it(shop: dict[str, Any]) -> None:
        shop["processes"]["worker"]["command"] = "echo the queue has gone; exit 3"

    edit(alone, break_it)
    deployed = deploy("-i", str(alone), "-e", "app=shop")
    assert deployed.returncode != 0
    said = " ".join(deployed.stdout.split())
    assert "failed: its process 'worker' ended. The last lines of its log:" in said
    assert said.count("the queue has gone") == 1
    assert "Where it is set: 'processes' of the app" in said
    assert f"The traffic is back on {before}" in said
    assert live(host) == before
    assert belonging(host) == {before}
    assert {unit.split("@")[0].partition(".")[2] for unit in beside(host)} >= {"clock.alone", "worker.1", "worker.2", "tick"}
    assert [what for _moment, _release, what in noted(host, "clock")][-1] == "begins"
    order(host, https, "again", 0)
    until("the old worker works", lambda: done(host, "again") == [before])


def test_a_rollback_takes_processes_along(host: Host, https: Request, alone: Path) -> None:
    before = live(host)
    rolled = deploy("-i", str(alone), "-e", "app=shop", playbook="rollback.yml")
    assert rolled.returncode == 0, rolled.stdout[-3000:]
    after = live(host)
    assert after != before
    until("nothing of the newer release is left", lambda: belonging(host) == {after})
    order(host, https, "back", 0)
    until("the worker works", lambda: done(host, "back") == [after])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"timers": {"tick": {"command": "true", "schedule": "dayly"}}}, "'schedule' of the timer 'tick' is 'dayly', and systemd says: Failed to parse"),
        ({"processes": {"worker": {"command": "true", "hosts": "workers"}}}, "the group 'workers', and the inventory has no such group"),
        ({"processes": {"worker": {"comand": "true"}}}, "unknown key 'comand'; did you mean 'command'?"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_built(host: Host, alone: Path, change: dict[str, Any], said: str) -> None:
    before = host.check_output("ls /srv/shop/releases")
    edit(alone, lambda shop: shop.update(change))
    deployed = deploy("-i", str(alone), "-e", "app=shop")
    assert deployed.returncode != 0
    assert said in " ".join((deployed.stdout + deployed.stderr).split())
    assert host.check_output("ls /srv/shop/releases") == before


# The last one: what it removes is gone


def test_apps_are_removed_alone(host: Host, https: Request, alone: Path) -> None:
    """One on a path, one with processes and timers, one with a password and pages of its own: nothing is left, and no request to another fails."""
    file, name = alone / "group_vars/all/apps.yml", site(host, "live")

    def teardown(app: str, *more: str) -> str:
        done = deploy("-i", str(alone), "-e", f"app={app}", *more, playbook="plainstack.web.teardown")
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    done = deploy("-i", str(alone), "-e", "app=board", playbook="plainstack.web.teardown")
    assert (done.returncode, "the next deploy would bring it back; nothing was touched" in " ".join(done.stdout.split())) == (2, True)
    host.check_output("usermod --append --groups board nobody")  # userdel leaves a group with other members
    with again_and_again(lambda: str(https(name, "/healthz").status)) as answers:
        for app, more in (("httpbin", ()), ("shop", ("-e", "data=delete")), ("board", ())):
            whole = yaml.safe_load(file.read_text(encoding="utf-8"))
            file.write_text(yaml.safe_dump({"apps": [one for one in whole["apps"] if one["name"] != app]}), encoding="utf-8")
            teardown(app, *more)
            assert re.search(r"changed=[1-9]", teardown(app, *more)) is None
            left = host.check_output(
                "find / -xdev '(' -path /proc -o -path /var/log/journal -o -path /usr ')' -prune -o '(' -name %s -o -name %s -o -name %s ')' -print",
                *(app, f"{app}@*", f"{app}.*"),
            ).splitlines()
            others = tuple(f"{place}/{one['name']}/" for one in whole["apps"] if one["name"] != app for place in ("/srv", "/var/cache/plainstack/build"))
            assert [path for path in left if path != f"/srv/{app}" and not path.startswith(others)] == []
            assert [database for database in ("passwd", "group") if host.run("getent %s %s", database, app).rc == 0] == []
            assert host.run("systemctl list-units --all --plain --no-legend '%s@*' '%s.*@*'", app, app).stdout.strip() == ""
    assert {status for _moment, status in answers} == {"200"}
    assert host.check_output("stat --format=%U:%G /srv/board/shared /srv/board/shared/instance/note") == "root:root\nroot:root"
    assert not host.file("/srv/shop").exists
    assert [one for one in ("chat", "raw") if https(site(host, one), "/healthz").status != 200] == []
    for gone in ("shop", "board"):
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            https(site(host, gone))
