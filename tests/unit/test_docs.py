"""What is written for people: links that resolve, lines that fit, a README of one sitting, and nothing of the machine it was written on."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 140  # characters of a line of prose
MOST = 1400  # words of the README, with its tables and commands
LONG = 120  # lines from which on a page needs a table of contents
GENERATED = {"docs/benchmarks.md", "docs/fleet-cost.md", "docs/fleet-load.md", "docs/releases.md"}


def pages() -> list[str]:
    """All Markdown of the repository."""
    found = [path.relative_to(ROOT) for pattern in ("*.md", "docs/*.md", "roles/*/README.md", "app_example/*.md") for path in ROOT.glob(pattern)]
    return sorted(map(str, found))


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are no code, with their numbers. An indented line is code where it follows an empty one and is in no list."""
    fenced = item = False
    before = ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            if line.strip() and not line.startswith(" "):
                item = bool(re.match(r"([-*]|\d+\.) ", line))
            code = line.startswith("    ") and not item and not before.strip("| -")
            if code:
                line = ""  # and so is what follows it
            if line or not code:
                yield number, line
            before = "" if code else line


def plain(text: str) -> str:
    """The prose without code spans, in which brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", "\n".join(line for _number, line in prose(text)))


def anchors(text: str) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    headings = [re.sub(r"^#+ ", "", line) for _number, line in prose(text) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages())
def test_links_resolve(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", plain(text))
    for target in targets:
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{page} links to {target}"


@pytest.mark.parametrize("page", [page for page in pages() if page != "CHANGELOG.md"])  # antsibull-changelog breaks no line
def test_lines_fit(page: str) -> None:
    """But those of tables, and those that a single link or word makes long."""
    text = (ROOT / page).read_text(encoding="utf-8")
    long = [number for number, line in prose(text) if len(line) > LONGEST and not line.lstrip().startswith("|") and len(line.split()) > 2]
    assert not long, f"{page}: lines of more than {LONGEST} characters"


def test_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST


def test_the_inventory_of_the_offline_section_is_the_one_of_its_scenario() -> None:
    section = (ROOT / "docs/howto.md").read_text(encoding="utf-8").split("\n## Offline\n")[1].split("\n## ")[0]
    assert f"```yaml\n{(ROOT / 'molecule/offline/inventory/group_vars/all/apps.yml').read_text(encoding='utf-8')}```" in section


@pytest.mark.parametrize("page", [page for page in pages() if page.startswith("docs/") and page not in GENERATED])
def test_long_pages_have_a_table_of_contents(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    parts = re.findall(r"^## (.+)$", "\n".join(line for _number, line in prose(text)), re.MULTILINE)
    listed = re.findall(r"^- \[(.+)\]\(#[^)]+\)$", text.split("\n## ")[0], re.MULTILINE)
    if listed or text.count("\n") > LONG:
        assert listed == parts, f"the table of contents of {page}"


def test_every_page_is_found_from_the_readme() -> None:
    """Directly, or by one page between."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", readme))
    for page in [*linked]:
        linked |= {f"docs/{name}" for name in re.findall(r"\]\(([\w-]+\.md)", (ROOT / page).read_text(encoding="utf-8"))}
    assert {page for page in pages() if page.startswith("docs/")} <= linked


@pytest.mark.parametrize("page", pages())
def test_nothing_of_the_machine_it_was_written_on(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.findall(r"/root\b|/work/|\bpypi\.org|deb\.debian\.org|\bTODO\b", text), page


def test_changelog_is_what_its_source_says(tmp_path: Path) -> None:
    """`antsibull-changelog release` writes it: a change gets a file in changelogs/fragments, not a line in CHANGELOG.md."""
    made = tmp_path / "CHANGELOG.md"
    subprocess.run([Path(sys.executable).with_name("antsibull-changelog"), "generate", "--output", made], cwd=ROOT, check=True, capture_output=True)
    assert made.read_text(encoding="utf-8") == (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
