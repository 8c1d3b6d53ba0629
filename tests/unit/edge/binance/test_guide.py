"""What the guide says is proved is proved by tests that are there: each row of SPEC 16's table names at least one."""

import ast
import re
from pathlib import Path

from tests.conformance.clients import CLIENTS, TOLD

ROOT = Path(__file__).resolve().parents[4]
FOLDER = "tests/e2e/binance/"


def rows() -> list[tuple[str, str, str]]:
    """Section, what, and what proves it, of each row of the table."""
    text = (ROOT / "docs/trader/binance.md").read_text().partition("## What is there")[2]
    found = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if "|" in line]
    return [(row[0], row[1], row[2]) for row in found[2:]]


def functions(path: Path) -> set[str]:
    """The tests of a file."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_row_names_tests_that_are_there() -> None:
    stories = {name for told in TOLD.values() for name in told}
    clients = {client.adapter for client in CLIENTS}
    table = rows()
    assert len(table) > 30
    for _, what, proof in table:
        file, tests = None, 0
        for word in re.findall(r"`([^`]+)`", proof):
            if word.endswith(".py") or "::" in word:
                path, _, name = word.partition("::")
                if path:
                    file = ROOT / (path if "/" in path else FOLDER + path)
                assert file is not None, what
                assert file.is_file(), (what, word)
                assert not name or name in functions(file), (what, word)
                tests += 1
            else:
                known = {story for story in stories if re.fullmatch(word.replace("...", ".*"), story)} | {
                    word
                } & clients
                assert known, (what, word)
        assert tests, what


def test_every_section_has_rows() -> None:
    assert {section for section, _, _ in rows()} == {f"16.{n}" for n in range(1, 7)}
