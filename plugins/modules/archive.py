#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: archive
short_description: Archive the source of apps on the controller
version_added: "0.1.0"
description:
  - Makes one archive for each app, the same bytes for the same content, on the controller and without a connection.
  - In a git checkout the tracked and the unignored files go in, as they are in the work tree; elsewhere everything but
    version control, caches and what looks like a secret or a database, which a warning names. Virtual environments stay out.
    Submodules and links out of the source are errors.
  - The archives are gone when the run of ansible-playbook ends.
author: Plainstack contributors (!UNKNOWN)
options:
  sources:
    description: Directory of each app, by the app's name.
    type: dict
    required: true
  static:
    description: By the app's name, directories of the source that nginx serves, by their URL prefix. One without a file, or with a link that leads out
      of it, is an error.
    type: dict
    default: {}
  requirements:
    description: By the app's name, the lock file in the source; it must be in the archive.
    type: dict
    default: {}
  include:
    description: By the app's name, paths and patterns in its source that go in although git ignores them or they look like secrets.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Changes nothing on any host.
    support: full
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Archive the sources
  plainstack.web.archive:
    sources:
      hello: /home/me/hello
  run_once: true
"""

RETURN = r"""
archives:
  description: By the app's name, C(path), C(digest) (SHA-256 of the content), C(id) (for a new release) and C(story) (revision, who, from where).
  returned: success
  type: dict
"""
