"""A server and an operator whose language is not English: dates and messages of other programs are read all the same."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from support import Site
from vm import Get, Mend, Served, Tidy, Vm

SOURCES = ("usr/share/i18n/charmaps/UTF-8.gz", *(f"usr/share/i18n/locales/{name}" for name in ("i18n*", "iso14651*", "translit_*")))


def speak(vm: Vm, name: str) -> None:
    """Give the VM the locale as an installation in that language has it, with glibc's messages, from Debian's package locales on this machine."""
    language = name.partition("_")[0]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for pattern in (*SOURCES, f"usr/share/i18n/locales/{name}", f"usr/share/locale/{language}/LC_MESSAGES/libc.mo"):
            for path in Path("/").glob(pattern):
                archive.add(path, str(path).lstrip("/"))
    vm.do("base64 --decode | tar --directory=/ --extract --gzip", base64.b64encode(packed.getvalue()).decode())
    vm.do(f"localedef -i {name} -f UTF-8 {name}.UTF-8; printf 'LANG={name}.UTF-8\\nLANGUAGE={language}\\n' > /etc/default/locale; systemctl daemon-reexec")


@pytest.mark.parametrize(("debian", "name", "full"), [(13, "fr_FR", "Aucun espace disponible"), (12, "de_DE", "Auf dem Gerät ist kein")])
def test_another_language(name: str, full: str, vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy, mend: Mend, tmp_path: Path) -> None:
    speak(vm, name)
    assert full in vm.do("su admin -c \"sudo python3 -c 'import locale, os; locale.setlocale(locale.LC_ALL, str()); print(os.strerror(28))'\"")
    subprocess.run(["localedef", "-i", name, "-f", "UTF-8", tmp_path / f"{name}.UTF-8"], check=True)
    site.environment |= {"LOCPATH": str(tmp_path), "LC_ALL": f"{name}.UTF-8", "LANGUAGE": name[:2]}
    before = tidy()
    mend()
    with served():
        run = site.deploy()
        assert run.code == 0, run.output[-3000:]
        assert tidy().live != before.live
        assert site.deploy().changed == 0
        assert site.rollback().code == 0
    assert get("/healthz").status == 200
    assert tidy().live == before.live
