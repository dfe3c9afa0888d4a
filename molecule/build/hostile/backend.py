"""A build backend that does what it can get away with, and builds a wheel whose .pth file does the same whenever its Python starts."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import zipfile

import evil

DIST = "evil-1.dist-info"


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """See PEP 517."""
    evil.attack("backend")
    files = {
        "evil.pth": "import evil; evil.attack('pth')\n",
        "evil.py": pathlib.Path("evil.py").read_text(encoding="utf-8"),
        f"{DIST}/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1\n",
        f"{DIST}/WHEEL": "Wheel-Version: 1.0\nGenerator: evil\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(pathlib.Path(wheel_directory, "evil-1-py3-none-any.whl"), "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(content)}\n"
        wheel.writestr(f"{DIST}/RECORD", f"{record}{DIST}/RECORD,,\n")
    return "evil-1-py3-none-any.whl"
