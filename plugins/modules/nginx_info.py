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
      (both empty where no certificate covers them), whether the host's own store trusts it (C(trusted); HSTS may be sent with these alone),
      and when it expires (C(until), such as C(2027-02-20 10:41 UTC)).
  returned: always
  type: dict
expired:
  description: A message for each of the sites' certificates that are C(coming) and have expired.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.webserver import inspect


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
    module.exit_json(changed=False, **inspect(module.params, module.warn))


if __name__ == "__main__":
    main()
