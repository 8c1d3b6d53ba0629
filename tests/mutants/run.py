"""Plant each bug in a copy of the tree, run the core's tests there, and say which test caught it.

``python -m tests.mutants.run [WORDS]`` plants all bugs, or those whose name or book holds WORDS.  Exit code 1: a bug
survived.  Exit code 2: the tests fail without any bug, or a bug no longer fits the code.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.mutants.planted import BUGS, Bug

ROOT: Final = Path(__file__).resolve().parents[2]
_COPIED: Final = ("src", "native", "tests/unit/matching", "tests/property/matching", "CMakeLists.txt", "pyproject.toml")
_TEST_SECONDS_MAX: Final = 90
#: An editable installation redirects imports to the original tree: without its finder the copy is what is tested.
_PYTEST: Final = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Redirect" not in type(finder).__name__]
sys.path[:0] = ["src", "."]
import trade_engine, pytest
assert trade_engine.__file__.startswith(sys.argv[1]), trade_engine.__file__
sys.exit(pytest.main(sys.argv[2:]))
"""


class Broken(Exception):
    """The run itself is no use: the tests fail without a bug, or a bug does not fit."""


def main() -> int:
    """Run from the command line."""
    words = " ".join(sys.argv[1:])
    bugs = [bug for bug in BUGS if words in f"{bug.book} {bug.name}"]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = _copy(Path(folder).resolve())
        try:
            survivors = _plant_all(tree, bugs)
        except Broken as broken:
            print(f"cannot judge: {broken}")
            return 2
    print(f"{len(bugs) - survivors} of {len(bugs)} planted bugs caught in {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


def _plant_all(tree: Path, bugs: list[Bug]) -> int:
    survivors = 0
    for book in ("reference", "native"):
        mine = [bug for bug in bugs if bug.book == book]
        if not mine:
            continue
        if book == "native":
            _build(tree)
        failed = _failing_test(tree, book)
        if failed:
            raise Broken(f"without any bug, {failed} fails")
        for bug in mine:
            caught_by = _plant(tree, bug)
            survivors += not caught_by
            print(f"{'caught  ' if caught_by else 'SURVIVED'} {book:9} {bug.name}: {caught_by}", flush=True)
    return survivors


def _copy(folder: Path) -> Path:
    tree = folder / "tree"
    for name in _COPIED:
        origin, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(origin, target)
    return tree


def _plant(tree: Path, bug: Bug) -> str:
    """The test that caught the bug; empty if none did."""
    path = tree / bug.path
    sound = text = path.read_text(encoding="utf-8")
    for there, planted in bug.edits:
        if text.count(there) != 1:
            raise Broken(f"'{bug.name}' no longer fits {bug.path}: {there!r} is there {text.count(there)} times")
        text = text.replace(there, planted)
    path.write_text(text, encoding="utf-8")
    try:
        if bug.book == "native":
            _build(tree)
        return _failing_test(tree, bug.book)
    finally:
        path.write_text(sound, encoding="utf-8")


def _build(tree: Path) -> None:
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["sh", "native/build.sh", sys.executable]
    built = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False)
    if built.returncode:
        raise Broken(f"the native book does not build:\n{built.stdout[-2000:]}{built.stderr[-2000:]}")


def _failing_test(tree: Path, book: str) -> str:
    """The first test of the core that fails with this book; empty if all pass."""
    files = sorted((tree / "tests/unit/matching").glob("test_*.py"), key=lambda file: file.stem != "test_tables")
    options = ["-x", "-q", "-p", "no:cacheprovider", "-k", book, *(str(file.relative_to(tree)) for file in files)]
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHONPATH")}
    command = [sys.executable, "-B", "-c", _PYTEST, str(tree), *options]
    try:
        ran = subprocess.run(
            command, cwd=tree, env=environ, capture_output=True, text=True, check=False, timeout=_TEST_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return "the tests, which came to no end"
    if ran.returncode == 0:
        return ""
    if ran.returncode < 0:
        return f"the tests, which broke off with signal {-ran.returncode}"
    failed = re.search(r"^(?:FAILED|ERROR) tests/unit/matching/(.+?)(?: - |$)", ran.stdout, re.MULTILINE)
    if failed is None or ran.returncode != 1:
        raise Broken(f"pytest ended with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[1]


if __name__ == "__main__":
    sys.exit(main())
