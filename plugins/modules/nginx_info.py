#!/usr/bin/python
"""What the configuration of nginx depends on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_info
short_description: What the configuration of nginx depends on
version_added: "0.1.0"
description:
  - Inspects the host; changes nothing.
  - Chooses for each site the certificate on the host that covers its names, whichever site it was ordered for. Where no certificate covers all of them,
    each name gets one that covers it.
author: Plainstack contributors (!UNKNOWN)
options:
  packages:
    description: Debian packages that must be installed.
    type: list
    elements: str
    default: []
  sites:
    description:
      - The sites that nginx ends TLS for, each with its C(name), its C(domains), and the paths of the C(certificate) chain and the
        C(certificate_key) that are meant for it.
      - Other keys are ignored.
    type: list
    elements: dict
    default: []
  candidates:
    description:
      - Patterns of the paths of certificate chains on the host, each with its key beside it.
      - A site whose certificate is at none of these paths, or is coming, has its own, which goes before any other as long as it is valid.
    type: list
    elements: str
    default: []
  coming:
    description: Certificate chains (PEM texts) that the configuration is about to write, by their path; they count as being on the host.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Inspect nginx
  plainstack.web.nginx_info:
    sites:
      - name: hello
        domains: [hello.example.com]
        certificate: /etc/letsencrypt/live/hello/fullchain.pem
        certificate_key: /etc/letsencrypt/live/hello/privkey.pem
    candidates: [/etc/letsencrypt/live/*/fullchain.pem]
  register: nginx
"""

RETURN = r"""
missing:
  description: Those of the packages that are not installed.
  returned: always
  type: list
  elements: str
version:
  description: Version of nginx; C(0) where it is not installed (a dry run on a fresh host).
  returned: always
  type: str
ipv6:
  description: Whether the host has IPv6.
  returned: always
  type: bool
post_quantum:
  description: Whether the host's OpenSSL has the key exchange X25519MLKEM768.
  returned: always
  type: bool
served:
  description:
    - For each site by its name, a list of dictionaries, each with C(domains), the C(certificate) and C(certificate_key) that they are served with
      (both empty where no certificate covers them), and whether the host's own store trusts it (C(trusted); HSTS may be sent with these alone).
  returned: always
  type: dict
expired:
  description: A message for each of the sites' certificates that are C(coming) and have expired.
  returned: always
  type: list
  elements: str
"""

import fnmatch
import re
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.certificates import choose, complaints, find


def output(*command: str) -> str:
    """Everything that a command prints; nothing where there is no such command."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError:
        return ""
    return done.stdout


def ipv6() -> bool:
    """No such file or an empty one: compiled out, or switched off by sysctl."""
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as stream:
            return bool(stream.read().strip())
    except FileNotFoundError:
        return False


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "sites": {"type": "list", "elements": "dict", "default": []},
            "candidates": {"type": "list", "elements": "str", "default": []},
            "coming": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    given = module.params
    installed = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *given["packages"]).splitlines() if given["packages"] else []
    version = re.search(r"nginx/([0-9.]+)", output("/usr/sbin/nginx", "-v"))
    now = time.time()
    keys = {one["certificate"]: one["certificate_key"] for one in given["sites"]}
    held = find(given["candidates"], keys, given["coming"], [name for one in given["sites"] for name in one["domains"]])
    chosen = {}
    for one in given["sites"]:
        path = one["certificate"]
        own = path in given["coming"] or not any(fnmatch.fnmatchcase(path, pattern) for pattern in given["candidates"])
        chosen[one["name"]] = choose(one["domains"], path, own, held, now)
    expired = []
    for one in given["sites"]:
        if one["certificate"] in given["coming"]:
            certificate = next((other.certificate for other in held if other.path == one["certificate"]), None)
            wrong, notes = complaints(one["name"], one["domains"], certificate, now)
            expired += wrong
            for note in notes:
                module.warn(note)
    module.exit_json(
        changed=False,
        missing=[package for package in given["packages"] if f"{package} installed" not in installed],
        version=version[1] if version else "0",
        ipv6=ipv6(),
        # nginx does not start with a curve that OpenSSL does not know
        post_quantum="X25519MLKEM768" in output("openssl", "list", "-kem-algorithms"),
        served={
            name: [
                {
                    "domains": list(part.domains),
                    "certificate": part.held.path if part.held else "",
                    "certificate_key": part.held.key if part.held else "",
                    "trusted": bool(part.held and part.held.trusted),
                }
                for part in parts
            ]
            for name, parts in chosen.items()
        },
        expired=expired,
    )


if __name__ == "__main__":
    main()
