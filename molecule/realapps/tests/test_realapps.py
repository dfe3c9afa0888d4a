"""Apps that nobody here wrote, and frameworks as their documentation shows them, as their users see them."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from testinfra.host import Host

from running import again_and_again, alone_inventory, deploy, live_release, site, until
from support import RESULTS, Request, name_of, ports

SCENARIO = Path(__file__).resolve().parents[1]


@pytest.fixture
def alone(host: Host, tmp_path: Path) -> Path:
    """The scenario's inventory with this server alone."""
    return alone_inventory(SCENARIO, name_of(host), tmp_path / "inventory")


@pytest.fixture
def browser(host: Host, tmp_path: Path) -> list[str]:
    """Chromium without a window, which finds the sites of the server; the certificates are for other tests."""
    chromium = shutil.which("chromium")
    assert chromium, "make test-apps installs it"
    rules = f"--host-resolver-rules=MAP *.test:443 127.0.0.1:{ports(host)[443]}"
    return [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", f"--user-data-dir={tmp_path}/profile", rules]


def page(https: Request, name: str) -> dict[str, str]:
    """What the diary says of itself."""
    text = https(name).body.decode()
    found = re.search(r"<p>(?P<release>\S+) (?P<key>\S+) (?P<url>\S+) (?P<address>\S+)</p>", text)
    assert found, text
    return found.groupdict()


def test_a_bare_server(alone: Path) -> None:
    """All of them at once, and once more."""
    done = deploy("-i", str(alone))
    assert done.returncode == 0, done.stdout[-6000:]
    again = deploy("-i", str(alone)).stdout
    assert len(re.findall(r"changed=0 .*failed=0", again)) == 1, again[-3000:]


def test_django_with_postgresql(host: Host, https: Request) -> None:
    """Its driver was compiled; it knows the visitor and HTTPS, and its secret comes from a command on the controller."""
    name = site(host, "diary")
    told = page(https, name)
    assert ipaddress.ip_address(told.pop("address"))
    assert told == {"release": live_release(host, "diary"), "key": "from-a-command", "url": f"https://{name}/"}
    assert https(name, "/", "POST", body=b"It rained.").status == 200
    assert host.check_output("runuser -u postgres -- psql --tuples-only --no-align diary --command 'SELECT text FROM entries_entry'") == "It rained."


def test_djangos_static_files(host: Host, https: Request) -> None:
    """From nginx, by names that have their digest; those of its admin too."""
    name = site(host, "diary")
    [path] = re.findall(r'href="(/static/diary\.[0-9a-f]+\.css)"', https(name).body.decode())
    answer = https(name, path)
    assert (answer.status, answer.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    [admin] = re.findall(r'href="(/static/admin/css/base\.[0-9a-f]+\.css)"', https(name, "/admin/login/").body.decode())
    assert https(name, admin).status == 200


def test_a_deploy_and_a_rollback_of_django(host: Host, https: Request, alone: Path) -> None:
    name, before = site(host, "diary"), live_release(host, "diary")
    for arguments, playbook in ((("-e", "title=Mine"), "deploy.yml"), ((), "rollback.yml")):
        with again_and_again(lambda: page(https, name)["release"]) as answers:
            done = deploy("-i", str(alone), "-e", "app=diary", *arguments, playbook=playbook)
        assert done.returncode == 0, done.stdout[-3000:]
        assert not [release for _time, release in answers if release.startswith("failed")]
        assert answers[-1][1] == live_release(host, "diary")
    assert live_release(host, "diary") == before
    assert b"It rained." in https(name).body


def test_comments_of_another_origin_in_a_browser(host: Host, https: Request, browser: list[str]) -> None:
    """Isso, as a package knows it: a browser shows the comment on the page of another site."""
    comment = json.dumps({"text": "I liked it.", "author": "Ada", "title": "An article"}).encode()
    posted = https(site(host, "comments"), "/new?uri=%2F", "POST", {"Content-Type": "application/json", "Origin": f"https://{site(host, 'page')}"}, comment)
    assert posted.status == 201, posted.body
    command, shown = [*browser, "--virtual-time-budget=15000", "--dump-dom", f"https://{site(host, 'page')}/"], ""
    for _turn in range(3):  # on a machine that is busy Chromium itself now and then ends without a word
        shown = shown or subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    assert "I liked it." in shown, shown[-3000:]


def test_a_factory_with_its_own_python_and_flask_migrate(host: Host, https: Request, alone: Path) -> None:
    """Its database is in the shared instance folder, and so is still there after a deploy and a rollback."""
    name = site(host, "notes")
    https(name, "/", "POST", body=b"buy milk")
    before = live_release(host, "notes")
    for arguments, playbook, title in ((("-e", "title=Other"), "deploy.yml", "Other"), ((), "rollback.yml", "Notes")):
        with again_and_again(lambda: str(json.loads(https(name).body)["release"])) as answers:
            done = deploy("-i", str(alone), "-e", "app=notes", *arguments, playbook=playbook)
        assert done.returncode == 0, done.stdout[-3000:]
        assert not [release for _time, release in answers if release.startswith("failed")]
        told = json.loads(https(name).body)
        version = ".".join(map(str, sys.version_info[:3]))
        assert (told["notes"], told["title"], told["python"]) == (["buy milk"], title, version)
    assert live_release(host, "notes") == before
    assert host.file("/srv/notes/shared/instance/notes.sqlite3").exists
    assert json.loads(host.check_output("cat /srv/diary/live/release.json"))["python"] != version, "the others have Debian's"


FRAME = """<!DOCTYPE html><title>wait</title><body style="margin:0"><iframe id="page" src="{name}" style="border:0;width:{width}px;height:900px"></iframe>
<script>onload = () => {{ const seen = document.getElementById("page").contentDocument.documentElement;
document.title = `${{seen.scrollWidth}} of ${{seen.clientWidth}}`; }}</script>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_of_ours_in_a_browser(host: Host, https: Request, alone: Path, browser: list[str], tmp_path: Path, width: int) -> None:
    """The report of status and the page of maintenance, on a desk and on a phone: nothing is cut off at the side. `make docs` takes their pictures."""
    report, maintenance = tmp_path / "report.html", tmp_path / "maintenance.html"
    for _turn in range(20):
        assert https(site(host, "notes")).status == 200
    assert deploy("-i", str(alone), "-e", f"report={report}", playbook="plainstack.web.status").returncode == 0
    words = ("-i", str(alone), "-e", "app=notes", "-e", '{"message": "We move to a larger database. Back at noon."}')
    assert deploy(*words, "-e", "mode=on", playbook="plainstack.web.maintenance").returncode == 0
    answer = https(site(host, "notes"))
    assert deploy(*words[:4], "-e", "mode=off", playbook="plainstack.web.maintenance").returncode == 0
    assert answer.status == 503
    maintenance.write_bytes(answer.body)
    RESULTS.mkdir(exist_ok=True)
    for page in (report, maintenance):
        frame = tmp_path / f"frame-{page.name}"
        frame.write_text(FRAME.format(name=page.name, width=width), encoding="utf-8")
        seen = [*browser, "--allow-file-access-from-files", "--virtual-time-budget=5000"]
        shown = ""
        for _turn in range(3):
            shown = shown or subprocess.run([*seen, "--dump-dom", f"file://{frame}"], capture_output=True, text=True, timeout=120, check=False).stdout
        found = re.search(r"<title>(\d+) of (\d+)</title>", shown)
        assert found, shown[-3000:]
        assert int(found[1]) <= int(found[2]) <= width
        picture = RESULTS / f"{page.stem}{'-phone' if width < 500 else ''}.png"
        command = [*seen, f"--window-size={width},{1400 if page == report else 500}", "--hide-scrollbars", f"--screenshot={picture}", f"file://{page}"]
        subprocess.run(command, capture_output=True, timeout=120, check=True)
        assert picture.stat().st_size > 5000


@contextmanager
def opened(command: list[str]) -> Iterator[None]:
    """A browser that goes on."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def heard(host: Host) -> list[tuple[float, str, str]]:
    """When the browser heard what from which release."""
    found = host.run("cat /srv/chat/shared/reports").stdout.splitlines()
    return [(float(moment), release, what) for moment, release, what in (line.split(" ", 2) for line in found)]


def test_a_websocket_in_a_browser_across_a_deploy(host: Host, alone: Path, browser: list[str]) -> None:
    """It talks to the old release until that ends, then to the new one, with less than the time of a request between."""
    before = live_release(host, "chat")
    with opened([*browser, "--remote-debugging-port=0", f"https://{site(host, 'chat')}/page"]):
        until("the browser talks", lambda: len(heard(host)) > 3, 60)
        done = deploy("-i", str(alone), "-e", "app=chat", "-e", "title=again")
        assert done.returncode == 0, done.stdout[-3000:]
        after = live_release(host, "chat")
        until("the browser talks to the new release", lambda: after in {release for _moment, release, _what in heard(host)}, 40)
    said = heard(host)
    assert {(release, what) for _moment, release, what in said} == {(before, "hello"), (after, "hello")}
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(said)]
    assert max(gaps) < 5, gaps


def test_one_is_removed_and_the_others_stay(host: Host, https: Request, alone: Path) -> None:
    """Nothing of it is left."""
    file = alone / "group_vars/all/apps.yml"
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    whole["apps"] = [app for app in whole["apps"] if app["name"] != "page"]
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    done = deploy("-i", str(alone), "-e", "app=page", "-e", "data=delete", playbook="plainstack.web.teardown")
    assert done.returncode == 0, done.stdout[-3000:]
    assert host.run("getent passwd page").rc != 0
    found = "find / -xdev ( -path /proc -o -path /var/log ) -prune -o ( -name page -o -name 'page@*' -o -name 'page.*' ) -print"
    left = {path for path in host.check_output("sh -c %s", found.replace("(", "\\(").replace(")", "\\)")).splitlines() if "/dist-packages/" not in path}
    assert {path for path in left if not path.startswith(("/usr/", "/srv/page", "/srv/chat", "/srv/diary", "/srv/comments", "/srv/notes"))} == set()
    for app, path in (("diary", "/"), ("comments", "/info"), ("notes", "/"), ("chat", "/about")):
        assert https(site(host, app), path).status == 200
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        https(site(host, "page"))
