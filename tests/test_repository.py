"""What is true of the files in git, whatever is in them."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Folders of one machine, and hosts that serve packages: an installer's settings know those.
FOREIGN = re.compile(r"/(work|farm|root)/|/tmp/[a-z]|py[p]i\.org|pytho[n]hosted|np[m]js\.|deb\.deb[i]an")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def lines(paths: list[Path]) -> list[tuple[str, str]]:
    """Where each line of text stands, and the line."""
    found = []
    for path in paths:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            (f"{path.relative_to(ROOT)}:{number}", line) for number, line in enumerate(text.splitlines(), 1)
        ]
    return found


def test_no_folder_of_one_machine_and_no_package_host(tracked):
    assert not [f"{place}: {line.strip()}" for place, line in lines(tracked) if FOREIGN.search(line)]


def test_links_between_pages_lead_somewhere(tracked):
    pages = [path for path in tracked if path.suffix == ".md"]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken
