"""The certificates that a host holds, and which of them each name of a site is served with. `choose` is pure."""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# ISO dates: those that OpenSSL prints by default have English months, which strptime reads in the locale of the process
X509 = ("openssl", "x509", "-noout", "-dates", "-dateopt", "iso_8601", "-ext", "subjectAltName")
TWO_THIRDS = 2 / 3
VERIFY = ("openssl", "verify", "-CApath", "/etc/ssl/certs")


@dataclass(frozen=True)
class Certificate:
    """A certificate: its DNS names, and the seconds since 1970 between which it is valid."""

    names: frozenset[str]
    begins: float
    ends: float

    def covers(self, name: str) -> bool:
        """Whether a client that asks for the name accepts it; a wildcard stands for one label."""
        return name.lower() in self.names or f"*.{name.lower().partition('.')[2]}" in self.names

    def valid(self, now: float) -> bool:
        """Whether its time has come and is not over."""
        return self.begins <= now < self.ends

    def passed(self, now: float) -> float:
        """The part of its life that has passed; more than 1 once it has expired."""
        return (now - self.begins) / max(self.ends - self.begins, 1)

    @property
    def end(self) -> str:
        """When it ends, for people."""
        return datetime.datetime.fromtimestamp(self.ends, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True)
class Held:
    """A certificate with the paths of its chain and key on the host, and whether the host's own store trusts it."""

    path: str
    key: str
    certificate: Certificate
    trusted: bool


@dataclass(frozen=True)
class Served:
    """Names of a site, and what they are served with; nothing is a placeholder."""

    domains: tuple[str, ...]
    held: Held | None


def parse(text: str) -> Certificate:
    """Read what X509 prints.

    :raises ValueError: when it is no certificate.
    """
    dates = dict(re.findall(r"^(notBefore|notAfter)=(.*)$", text, re.MULTILINE))
    if len(dates) != 2:
        raise ValueError("no certificate")
    begins, ends = (datetime.datetime.fromisoformat(dates[key].strip()).timestamp() for key in ("notBefore", "notAfter"))
    return Certificate(frozenset(name.lower() for name in re.findall(r"DNS:([^,\s]+)", text)), begins, ends)


def read_certificate(path: str) -> Certificate | None:
    """The first certificate in a file; None where there is none."""
    done = subprocess.run([*X509, "-in", path], capture_output=True, encoding="utf-8", errors="replace", check=False)
    try:
        return parse(done.stdout)
    except ValueError:
        return None


def trusted(path: str) -> bool:
    """Whether the host's own store trusts the chain, which also means: not expired."""
    return subprocess.run([*VERIFY, "-untrusted", path, path], capture_output=True, check=False).returncode == 0


def key_of(path: str) -> str:
    """Path of the private key of a chain: beside it, as certbot names it, or with another suffix."""
    return f"{path.removesuffix('fullchain.pem')}privkey.pem" if path.endswith("/fullchain.pem") else f"{path.removesuffix('.pem')}.key"


def choose(domains: Sequence[str], wanted: str, own: bool, held: Iterable[Held], now: float) -> list[Served]:
    """What a site is served with: one certificate where one covers all its names, else the best one for each name.

    A certificate is taken whichever site it was ordered for: names move from one site to another faster than certificates are issued. One for just these
    names goes first, because that is the one that is renewed.

    :param wanted: path of the certificate that is meant for the site.
    :param own: whether it is the site's own, which goes before any other that has been obtained.
    """

    def rank(one: Held) -> tuple[bool, bool, bool, bool, bool, float]:
        certificate, mine = one.certificate, one.path == wanted
        return certificate.valid(now), own and mine, certificate.names == set(domains), mine, one.trusted, certificate.ends

    ranked = sorted(held, key=rank, reverse=True)
    for one in ranked:
        if one.certificate.valid(now) and all(map(one.certificate.covers, domains)):
            return [Served(tuple(domains), one)]
    # Its own one is what its owner wants, also for names that it does not have
    last = next((one for one in ranked if own and one.path == wanted), None)
    groups: dict[Held | None, list[str]] = {}
    for name in domains:
        groups.setdefault(next((one for one in ranked if one.certificate.covers(name)), last), []).append(name)
    return [Served(tuple(names), one) for one, names in groups.items()]


def find(patterns: Iterable[str], keys: Mapping[str, str], coming: Mapping[str, str], domains: Iterable[str]) -> list[Held]:
    """The certificates on the host that have a key and one of these names, or are meant for a site.

    :param patterns: of the paths of chains whose key is beside them.
    :param keys: paths of the keys of those that are meant for a site, by the path of their chain.
    :param coming: chains (PEM texts) that are about to be written with their keys, by their path.
    """
    names = list(domains)
    places = {path: key_of(path) for pattern in patterns for path in glob.glob(pattern)} | {path: key_of(path) for path in coming} | dict(keys)
    found = []
    for path, key in sorted(places.items()):
        with contextlib.ExitStack() as stack:
            place = path
            if path in coming:
                file = stack.enter_context(tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".pem"))
                file.write(coming[path])
                file.flush()
                place = file.name
            elif not os.path.exists(path) or not os.path.exists(key):
                continue
            certificate = read_certificate(place)
            if certificate and (path in keys or any(map(certificate.covers, names))):
                found.append(Held(path, key, certificate, trusted(place)))
    return found


def complaints(site: str, domains: Sequence[str], own: Certificate | None, now: float) -> tuple[list[str], list[str]]:
    """What is wrong with a site's own certificate, and what may go wrong. Nobody but its owner renews it."""
    where = f"Where it is set: 'certificate' of the app '{site}'; put a new one there and deploy again."
    if own is None:
        return [f"{site}: its own certificate is not a certificate that can be read.\n{where}"], []
    wrong, notes = [], []
    if not own.valid(now):
        wrong.append(f"{site}: its own certificate {'ended on ' + own.end if now >= own.ends else 'is not valid yet'}; visitors get an error.\n{where}")
    elif own.passed(now) > TWO_THIRDS:
        notes.append(f"{site}: two thirds of the life of its own certificate have passed; it ends on {own.end}. {where}")
    missing = [name for name in domains if not own.covers(name)]
    if missing:
        notes.append(f"{site}: its own certificate does not cover {', '.join(missing)}. {where}")
    return wrong, notes
