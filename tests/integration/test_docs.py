"""The guides: built strictly, no part of them fetched from elsewhere, with every test in the catalogue."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from scripts.test_catalogue import catalogue, each_test, line_of

from tests.conftest import ROOT


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_the_guides_build_strictly_and_fetch_nothing(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        fetched = re.findall(
            r"<(?:script|img|iframe|source|link(?! rel=\"?canonical))\b[^>]*\b(?:src|href)=\"?(https?:[^\s\">]+)",
            page.read_text(encoding="utf-8"),
        )
        assert fetched == [], page.relative_to(tmp_path)
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import) *[\"']?https?:", style.read_text(encoding="utf-8")), style.name


def test_the_catalogue_has_every_test() -> None:
    page = set(catalogue().splitlines())
    assert f"### {Path(__file__).name}" in page
    assert "- the catalogue has every test" in page
    for file in (ROOT / "tests").rglob("test_*.py"):
        for test in each_test(ast.parse(file.read_text(encoding="utf-8"))):
            assert line_of(test) in page, f"{file.name}: {test.name}"


def test_contributing_names_every_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert told >= targets - {"help"}, targets - told
