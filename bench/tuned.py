"""Requests a second of the deployed stack beside nginx and Gunicorn tuned by hand, on a VM of the same size."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from load import throughput
from vms import FLOOR, STACK, script

PATH = "/api/whoami"  # the app's cheapest answer: the less the app does, the more its servers count


PER_CORE = "$(nproc)"
BUFFERED = "/var/log/nginx/access.log combined buffer=64k flush=5s"


@dataclass(frozen=True)
class Tuning:
    """One way to set up the floor's nginx and Gunicorn: `workers` as a shell expression, `keepalive` as nginx's connections
    to Gunicorn that stay open, `connection` as the header that it sends to Gunicorn."""

    name: str
    workers: str = "$((2 * $(nproc) + 1))"
    threads: int = 4
    keepalive: int = 0
    connection: str = '""'
    access_log: str = "/var/log/nginx/access.log"


TUNINGS = (
    Tuning("upstream without keep-alive"),
    Tuning("upstream with `Connection: close`", connection="close"),
    Tuning("upstream keep-alive", keepalive=32),
    Tuning("upstream keep-alive, a worker a core", keepalive=32, workers=PER_CORE),
    Tuning("upstream keep-alive, buffered access log", keepalive=32, access_log=BUFFERED),
    Tuning("upstream keep-alive, a worker a core with 10 threads, buffered access log", PER_CORE, 10, keepalive=32, access_log=BUFFERED),
)


@dataclass
class Throughput:
    """Requests a second: of each tuning once, by name; then of the best and of the deployed stack, in turn."""

    tried: dict[str, float] = field(default_factory=dict)
    best: str = ""
    tuned: list[float] = field(default_factory=list)
    deployed: list[float] = field(default_factory=list)

    def ratio(self) -> float:
        """Deployed stack by best tuning: the median of the ratios of neighbours, which had the machine in the same mood."""
        return median(deployed / tuned for deployed, tuned in zip(self.deployed, self.tuned, strict=True))


def apply(tuning: Tuning) -> None:
    """Set up the floor's VM: no sandbox, no health gate, no limits, no headers besides what the app needs."""
    script(
        FLOOR,
        f"""
        mkdir -p /etc/systemd/system/hello.service.d
        cat >/etc/systemd/system/hello.service.d/tuned.conf <<UNIT
[Service]
LimitNOFILE=16384
ExecStart=
ExecStart=/srv/hello/venv/bin/gunicorn --worker-class gthread --workers {tuning.workers} --threads {tuning.threads} --preload \\
    --worker-tmp-dir /dev/shm --no-control-socket --keep-alive 75 --bind unix:/run/hello/hello.sock wsgi:app
UNIT
        cat >/etc/nginx/sites-available/hello <<'SITE'
upstream hello {{
    server unix:/run/hello/hello.sock fail_timeout=0;
    {f"keepalive {tuning.keepalive};" if tuning.keepalive else ""}
}}
server {{
    listen 443 ssl default_server;
    http2 on;
    ssl_certificate /etc/letsencrypt/live/hello/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/hello/privkey.pem;
    ssl_session_cache shared:TLS:10m;
    access_log {tuning.access_log};
    keepalive_requests 100000;
    location / {{
        proxy_pass http://hello;
        proxy_http_version 1.1;
        proxy_set_header Connection {tuning.connection};
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
    location ^~ /static/ {{
        alias /srv/hello/app/hello/static/;
    }}
}}
SITE
        nginx -t -q
        systemctl daemon-reload
        systemctl restart hello.service
        systemctl reload nginx.service
        sleep 1
        """,
    )


def measure(rounds: int, seconds: int) -> Throughput:
    """Try every tuning once, then measure the best of them and the deployed stack in turn."""
    result = Throughput()
    for tuning in TUNINGS:
        apply(tuning)
        result.tried[tuning.name] = throughput(FLOOR, PATH, seconds)
        print(f"requests a second: {tuning.name}: {result.tried[tuning.name]:.0f}", flush=True)
    result.best = max(result.tried, key=lambda name: result.tried[name])
    apply(next(tuning for tuning in TUNINGS if tuning.name == result.best))
    for number in range(rounds):
        # Who is first changes, so that neither always follows the other's load
        for vm in (FLOOR, STACK) if number % 2 else (STACK, FLOOR):
            (result.tuned if vm is FLOOR else result.deployed).append(throughput(vm, PATH, seconds))
        print(f"requests a second: tuned {result.tuned[-1]:.0f}, deployed {result.deployed[-1]:.0f} ({number + 1}/{rounds})", flush=True)
    return result
