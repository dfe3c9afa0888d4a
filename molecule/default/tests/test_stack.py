"""The whole stack as a user sees it; runs after the deploy, and again after a reboot."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess

import pytest
from testinfra.host import Host

from support import Request, name_of, ports

SECRET = 'it\'s "quoted" $HOME %n \\ #hash `tick` {{ 7 * 7 }} {% x %} {# y\nand a second line '


@pytest.fixture
def hello(host: Host) -> str:
    return f"hello.{name_of(host)}.test"


@pytest.fixture
def second(host: Host) -> str:
    return f"second.{name_of(host)}.test"


def live(host: Host, app: str) -> str:
    return host.check_output("readlink /srv/%s/live", app).rsplit("/", 1)[1]


def test_page_is_served_with_a_certificate_that_the_acme_server_issued(https: Request, hello: str) -> None:
    answer = https(hello)
    assert answer.status == 200
    assert b"</html>" in answer.body
    names = {value for kind, value in answer.certificate["subjectAltName"] if kind == "DNS"}
    assert names == {hello, f"www.{hello}"}


def test_both_names_answer(https: Request, hello: str) -> None:
    assert https(f"www.{hello}", "/healthz").status == 200


def test_page_names_the_live_release(host: Host, https: Request, hello: str) -> None:
    assert json.loads(https(hello, "/api/whoami").body)["release"] == live(host, "hello")


def test_two_apps_on_one_server_are_apart(host: Host, https: Request, hello: str, second: str) -> None:
    first_user = host.check_output("stat -c %U /srv/hello/shared")
    second_user = host.check_output("stat -c %U /srv/second-app/shared")
    assert (first_user, second_user) == ("hello", "second-app")
    assert json.loads(https(second, "/api/whoami").body)["release"] == live(host, "second-app")
    assert host.run("runuser -u hello -- cat /srv/second-app/shared").rc != 0
    assert host.run("runuser -u hello -- curl --unix-socket /srv/second-app/live.sock http://localhost/").rc != 0


def test_every_secret_value_survives(https: Request, second: str) -> None:
    assert json.loads(https(second, "/api/whoami").body)["greeting"] == SECRET


def test_secrets_are_for_root_only(host: Host) -> None:
    environment = host.file(f"/etc/plainstack/second-app/{live(host, 'second-app')}/environment")
    assert (environment.user, environment.mode) == ("root", 0o600)
    assert host.run("journalctl --no-pager | grep 'and a secon[d] line'").rc == 1
    assert host.run("ps axww | grep 'and a secon[d] line'").rc == 1
    assert host.run("grep -rl 'and a secon[d] line' /srv /run/plainstack /var/lib/plainstack /var/log --exclude-dir=.venv").stdout == ""


def test_http_goes_to_https(http_: Request, hello: str) -> None:
    answer = http_(hello, "/some/path?query=1")
    assert answer.status == 301
    assert answer.headers["location"] == f"https://{hello}/some/path?query=1"


def test_http2_is_offered(host: Host, hello: str) -> None:
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", ports(host)[443]), 10) as plain,
        context.wrap_socket(plain, server_hostname=hello) as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"


def test_unknown_names_get_no_answer_and_no_certificate(host: Host, http_: Request) -> None:
    with pytest.raises(ConnectionError):
        http_("unknown.example.com")
    context = ssl._create_unverified_context()
    for name in ("unknown.example.com", None):
        with socket.create_connection(("127.0.0.1", ports(host)[443]), 10) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname=name)


def test_a_known_name_in_tls_does_not_open_an_unknown_host(https: Request, hello: str) -> None:
    for target in ("/", "https://unknown.example.com/"):
        with pytest.raises(ConnectionError):
            https(hello, target, headers={"Host": "unknown.example.com"})


def test_forged_headers_are_not_believed(https: Request, hello: str) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example.com",
        "Forwarded": "for=6.6.6.6",
    }
    seen = json.loads(https(hello, "/api/whoami", headers=forged).body)
    assert seen["client"] != "6.6.6.6"
    assert (seen["scheme"], seen["host"]) == ("https", hello)


def test_security_headers_are_on_every_kind_of_answer(https: Request, hello: str) -> None:
    for path in ("/", "/static/style.css", "/nothing-here", "/static/nothing-here"):
        headers = https(hello, path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path
        assert "frame-ancestors" in headers["content-security-policy"], path
        assert "strict-transport-security" not in headers, f"{path}: HSTS with a certificate that the host does not trust"


def test_static_files_come_from_nginx_compressed_and_cached(host: Host, https: Request, hello: str) -> None:
    for encoding in ("br", "gzip"):
        answer = https(hello, "/static/style.css", headers={"Accept-Encoding": encoding})
        assert answer.status == 200
        assert answer.headers["content-encoding"] == encoding
        assert "max-age=" in answer.headers["cache-control"]
    unpacked = https(hello, "/static/style.css").body
    assert unpacked.decode() == host.file("/srv/hello/live/hello/static/style.css").content_string


def test_dynamic_answers_are_not_compressed(https: Request, hello: str) -> None:
    assert "content-encoding" not in https(hello, "/", headers={"Accept-Encoding": "gzip, br"}).headers


def test_limits_of_the_definition_are_the_sites(https: Request, hello: str, second: str) -> None:
    body = b"x" * 200_000
    assert https(hello, "/api/whoami", "POST", body=body).status == 200
    assert https(second, "/api/whoami", "POST", body=body).status == 413
    assert https(hello, "/slow?seconds=4").status == 200
    assert https(second, "/slow?seconds=4").status == 504


def test_workers_by_the_rule_and_by_the_definition(host: Host) -> None:
    cpus = int(host.check_output("nproc"))
    for app, wanted in (("hello", 2 * cpus + 1), ("second-app", 1)):
        master = host.check_output("systemctl show -p MainPID --value %s", f"{app}@{live(host, app)}.service")
        assert len(host.check_output("ps -o pid= --ppid %s", master).split()) == wanted


def test_only_the_live_release_runs_and_starts_on_boot(host: Host) -> None:
    for app in ("hello", "second-app"):
        identifier = live(host, app)
        units = host.check_output("systemctl list-units --plain --no-legend --state=active '%s@*'", app)
        assert sorted(line.split()[0] for line in units.splitlines()) == [f"{app}@{identifier}.service", f"{app}@{identifier}.socket"]
        wanted = host.check_output("ls /etc/systemd/system/multi-user.target.wants /etc/systemd/system/sockets.target.wants").split()
        assert sorted(name for name in wanted if name.startswith(f"{app}@")) == [f"{app}@{identifier}.service", f"{app}@{identifier}.socket"]


def test_nothing_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_the_app_is_confined(host: Host) -> None:
    unit = f"hello@{live(host, 'hello')}.service"
    assert host.run("systemd-analyze security --threshold=15 %s", unit).rc == 0
    master = host.check_output("systemctl show -p MainPID --value %s", unit)
    status = host.file(f"/proc/{master}/status").content_string
    assert "NoNewPrivs:\t1" in status
    assert "CapBnd:\t0000000000000000" in status
    assert host.check_output("ps -o user= -p %s", master).strip() == "hello"


def test_a_release_is_read_only_for_the_app(host: Host) -> None:
    release = f"/srv/hello/releases/{live(host, 'hello')}"
    assert host.check_output("find %s ! -user root -o -perm /022 ! -type l", release) == ""
    assert host.run("runuser -u www-data -- cat %s/wsgi.py %s/release.json", release, release).stdout == ""
    assert host.check_output("head -1 %s/.venv/bin/gunicorn", release) == f"#!{release}/.venv/bin/python"


def test_socket_is_for_the_app_and_the_web_server_only(host: Host) -> None:
    socket_file = host.file(f"/run/plainstack/hello/{live(host, 'hello')}.sock")
    assert (socket_file.user, socket_file.group, socket_file.mode) == ("hello", "www-data", 0o660)


def test_a_killed_worker_is_replaced(host: Host, https: Request, second: str) -> None:
    before = json.loads(https(second, "/api/whoami").body)["pid"]
    host.check_output("kill -KILL %s", str(before))
    assert json.loads(https(second, "/api/whoami").body)["pid"] != before


def test_shared_directory_is_linked_and_writable(host: Host) -> None:
    link = host.file(f"/srv/second-app/releases/{live(host, 'second-app')}/uploads")
    assert link.linked_to == "/srv/second-app/shared/uploads"
    assert host.file("/srv/second-app/shared/uploads").user == "second-app"


def test_renewal_is_certbots_timer_alone(host: Host) -> None:
    assert host.service("certbot.timer").is_enabled
    assert host.service("certbot.timer").is_running


def test_renewed_certificate_is_served(host: Host, https: Request, hello: str) -> None:
    before = https(hello).certificate["serialNumber"]
    host.check_output(
        "env REQUESTS_CA_BUNDLE=/etc/letsencrypt/acme-server-ca.pem certbot renew --quiet --force-renewal --no-random-sleep-on-renew --cert-name hello"
    )
    stored = host.check_output("openssl x509 -noout -serial -in /etc/letsencrypt/live/hello/cert.pem").split("=")[1]
    assert stored != before
    served = f"echo | openssl s_client -connect 127.0.0.1:443 -servername {hello} 2>/dev/null | openssl x509 -noout -serial"
    host.run_expect([0], f"timeout 5 sh -c 'until {served} | grep -q {stored}; do sleep 0.1; done'")
    assert https(hello).certificate["serialNumber"] == stored


def test_the_next_boot_of_nginx_would_work(host: Host) -> None:
    assert host.run("nginx -t").rc == 0


def test_each_visit_is_counted_in_the_shared_directory(host: Host, https: Request, hello: str) -> None:
    count = "import sqlite3; print(sqlite3.connect('/srv/hello/shared/hello.sqlite3').execute('SELECT sum(count) FROM visits').fetchone()[0])"
    assert https(hello).status == 200
    before = int(host.check_output(f'python3 -c "{count}"'))
    assert https(hello).status == 200
    assert int(host.check_output(f'python3 -c "{count}"')) == before + 1


def test_old_tls_is_not_offered(host: Host, hello: str) -> None:
    port = ports(host)[443]
    for version in ("-tls1", "-tls1_1"):
        done = subprocess.run(
            ["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{port}", "-servername", hello],
            input=b"",
            capture_output=True,
            check=False,
        )
        assert done.returncode != 0
