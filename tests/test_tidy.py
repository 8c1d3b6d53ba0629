"""The style is a test: sizes, names, leftovers, dead modules, and no clock or chance on the deterministic path.

What ruff, mypy and import-linter check is not repeated here.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "src"

FILE_LINES_MAX: Final = 450
FUNCTION_LINES_MAX: Final = 70

#: Names that say nothing, as a module's or as a word of a class's or function's.
EMPTY_WORDS: Final = {"util", "utils", "helper", "helpers", "manager", "misc", "stuff"}
EMPTY_MODULES: Final = EMPTY_WORDS | {"common", "data", "info"}

LEFTOVERS: Final = {
    "an open end": r"\b(?:TODO|FIXME|HACK)\b",
    "uncovered on purpose": r"pragma: *no cover",
    "a stub": r"\bNotImplementedError\b",
    "a path of one machine": r"(?<![\w.])/(?:root|home/\w+|work)/\w",
    "an index by name": r"pypi\.org|pythonhosted|--(?:extra-)?index-url|--find-links",
    "a merge left open": r"^(?:<{7}|>{7}) ",
}

#: Files of others, kept as they came.
VENDORED: Final = {"swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css"}

#: Where the same commands must always give the same events.
DETERMINISTIC: Final = ("domain", "matching", "marketdata")
#: Here time and chance are injected, except by the modules that are the source of them.
INJECTED: Final = ("sequencer",)
SOURCES_OF_TIME: Final = {"sequencer/clock.py"}
RAW: Final = {"time", "random", "secrets", "uuid", "uuid_utils"}
RAW_CALLS: Final = {"now", "utcnow", "today", "urandom", "time_ns", "monotonic", "perf_counter", "uuid4", "uuid7"}


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the project; all that are not ignored, where git is not there to ask."""
    answer = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode == 0:
        paths = [ROOT / name for name in answer.stdout.splitlines()]
    else:
        paths = [path for folder in ("src", "tests", "scripts", "bench") for path in (ROOT / folder).rglob("*")]
    return tuple(path for path in paths if path.is_file() and "__pycache__" not in path.parts)


@cache
def python_files() -> tuple[Path, ...]:
    return tuple(path for path in tracked() if path.suffix == ".py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code, signature included, docstring not."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def test_files_have_one_reason_to_exist() -> None:
    suffixes = {".py", ".cpp", ".hpp", ".h", ".sql", ".pyi"}
    long = [
        f"{short(path)}: {lines} lines"
        for path in tracked()
        if path.suffix in suffixes and (lines := path.read_text(encoding="utf-8").count("\n")) > FILE_LINES_MAX
    ]
    assert not long, "\n" + "\n".join(long)


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{short(path)}:{function.lineno}: {function.name}, {length(function)} lines"
        for path in python_files()
        for function in functions(path)
        if length(function) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n" + "\n".join(long)


def test_names_say_something() -> None:
    empty = [short(path) for path in python_files() if path.stem in EMPTY_MODULES or path.parent.name in EMPTY_MODULES]
    for path in python_files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", node.name)
                if EMPTY_WORDS & {word.lower() for word in words}:
                    empty.append(f"{short(path)}:{node.lineno}: {node.name}")
    assert not empty, "\n" + "\n".join(empty)


def test_nothing_is_left_over() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__) or path.name == "LICENSE" or path.name in VENDORED:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for meaning, pattern in LEFTOVERS.items():
            found += [
                f"{short(path)}:{text.count(chr(10), 0, match.start()) + 1}: {meaning}: {match[0]}"
                for match in re.finditer(pattern, text, re.MULTILINE)
            ]
    assert not found, "\n" + "\n".join(found)


def test_modules_open_with_what_they_are() -> None:
    silent = [
        short(path) for path in python_files() if path.is_relative_to(SOURCE) and not ast.get_docstring(tree(path))
    ]
    assert not silent, "\n" + "\n".join(silent)


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def mentions(path: Path) -> set[str]:
    """Modules that a module imports, anywhere in it, or names as a string."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("trade_engine."):
            found.add(str(node.value).partition(":")[0])
    return found


def test_every_module_is_reached_from_the_command_line() -> None:
    modules = {module_name(path): path for path in python_files() if path.is_relative_to(SOURCE)}
    roots = [name for name in modules if name in ("trade_engine.cli", "trade_engine.client") or "__main__" in name]
    reached: set[str] = set()
    waiting = [*roots, "trade_engine"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in modules:
            continue
        reached.add(name)
        waiting.extend(mentions(modules[name]))
        waiting.extend(name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))
    dead = sorted(modules.keys() - reached)
    assert not dead, "\n" + "\n".join(dead)


@pytest.mark.parametrize("package", [*DETERMINISTIC, *INJECTED])
def test_the_deterministic_path_asks_no_clock_and_no_dice(package: str) -> None:
    found: list[str] = []
    for path in python_files():
        place = path.relative_to(SOURCE / "trade_engine") if path.is_relative_to(SOURCE) else None
        if place is None or place.parts[0] != package or place.as_posix() in SOURCES_OF_TIME:
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                raw = RAW & {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                raw = RAW & {(node.module or "").partition(".")[0]}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                on_module = isinstance(owner, ast.Name) and owner.id in {"datetime", "date", "time", "os", "uuid"}
                raw = RAW_CALLS & {node.func.attr} if on_module else set()
            else:
                continue
            found.extend(f"{short(path)}:{node.lineno}: {name}" for name in raw)
    assert not found, "\n" + "\n".join(found)


def test_locks_name_exact_versions_and_no_index() -> None:
    line_form = re.compile(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+(?: ; .+)?")
    locks = sorted(ROOT.glob("requirements*.lock"))
    assert len(locks) == 4
    wrong = [
        f"{lock.name}: {line}"
        for lock in locks
        for line in lock.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#") and not line_form.fullmatch(line)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_migrations_are_numbered_without_a_gap() -> None:
    folder = SOURCE / "trade_engine" / "storage" / "migrations"
    numbers = sorted({int(path.name[:4]) for path in folder.glob("*.sql")})
    assert numbers == list(range(1, len(numbers) + 1))
