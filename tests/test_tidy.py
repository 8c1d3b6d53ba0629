"""The style is a test: sizes, names, leftovers, dead modules, and no clock or chance on the deterministic path.

What ruff, mypy and import-linter check is not repeated here.
"""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

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

#: What nothing in src/ uses, and why it stays.
KEPT: Final = {
    "Acceptor.wait_closed": "uvicorn ends what listens for it as it ends a server of asyncio",
    "Failpoints.disarm": "a drill ends what it began",
    "Book.orders_at": "what a book shows of itself, for the tests of both books",
    "Exchange.websocket_url": "for the bots that are tested in it",
    "MemoryStore.plan": "what tests and simulation have go wrong",
    "MemoryStore.go_on": "as MemoryStore.plan",
    "MemoryStore.seize": "as MemoryStore.plan",
    "_Readings.describe": "prometheus_client asks a collector for it, if it is there",
}
#: How a module writes to the log.
LOGGERS: Final = {"log", "self._log", "logger", "logging"}
LOG_METHODS: Final = {"debug", "info", "warning", "error", "exception", "critical"}


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


def source_of(node: ast.ImportFrom, path: Path) -> str:
    """The module that is imported from, by its full name."""
    package = module_name(path.parent / "__init__.py")
    return f"{package}.{node.module}" if node.level else str(node.module)


def mentions(path: Path) -> set[str]:
    """Modules that a module imports, anywhere in it, or names as a string."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            source = source_of(node, path)
            found.add(source)
            found.update(f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("trade_engine."):
            found.add(str(node.value).partition(":")[0])
    return found


def imports(path: Path, modules: Collection[str]) -> set[str]:
    """The modules that a module imports, anywhere in it, for its types too; a package if it names nothing below."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            source = source_of(node, path)
            below = {alias.name: f"{source}.{alias.name}" for alias in node.names}
            found.update(full if full in modules else source for full in below.values())
    return found.intersection(modules) - {module_name(path)}


def circles(links: Mapping[str, Collection[str]]) -> list[set[str]]:
    """What leads to itself, together (Tarjan)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        waiting.append(name)
        for other in links[name]:
            if other not in number:
                visit(other)
            if other in waiting:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            at = waiting.index(name)
            circle = set(waiting[at:])
            del waiting[at:]
            if len(circle) > 1:
                found.append(circle)

    for name in sorted(links):
        if name not in number:
            visit(name)
    return found


def test_a_circle_is_seen() -> None:
    links = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "e"}, "e": {"d"}, "f": set()}
    assert circles(links) == [{"b", "c"}, {"d", "e"}]


def test_no_modules_import_each_other() -> None:
    """Neither to run nor for types: of two modules that need each other, one says by a Protocol what it needs."""
    modules = {module_name(path): path for path in python_files() if path.is_relative_to(SOURCE)}
    found = circles({name: imports(path, modules.keys()) for name, path in modules.items()})
    assert not found, "\n" + "\n".join(", ".join(sorted(circle)) for circle in found)


def test_every_module_is_reached_from_where_others_enter() -> None:
    modules = {module_name(path): path for path in python_files() if path.is_relative_to(SOURCE)}
    entered = ("trade_engine.cli", "trade_engine.client", "trade_engine.pytest_plugin")
    roots = [name for name in modules if name in entered or "__main__" in name]
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


class Declaration(NamedTuple):
    path: Path
    #: The class it is a method of, if it is one.
    owner: str
    name: str
    first: int
    last: int

    @property
    def full_name(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name


class Use(NamedTuple):
    path: Path
    line: int
    #: After a dot or in a text: it may mean a method. Otherwise it is a name of this module, defined or imported here.
    loose: bool


def is_command(node: ast.AST) -> bool:
    """Whether it is registered by a decorator such as ``@group.command()``."""
    decorators = getattr(node, "decorator_list", [])
    return any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) and d.func.attr == "command" for d in decorators
    )


def declarations(path: Path) -> Iterator[Declaration]:
    """Functions, classes and constants of a module, and methods of its classes."""
    for node in ast.walk(tree(path)):
        owner = node.name if isinstance(node, ast.ClassDef) else ""
        for part in node.body if isinstance(node, ast.Module | ast.ClassDef) else ():
            names: list[str] = []
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [] if is_command(part) else [part.name]
            elif not owner and isinstance(part, ast.ClassDef):
                names = [part.name]
            elif not owner and isinstance(part, ast.Assign | ast.AnnAssign):
                targets = part.targets if isinstance(part, ast.Assign) else [part.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            for name in names:
                if not name.startswith("__"):
                    yield Declaration(path, owner, name, part.lineno, part.end_lineno or part.lineno)


def uses(path: Path) -> Iterator[tuple[str, Use]]:
    """Every mention of a name: as a name, after a dot, or in a text that could be one or is made of them."""
    module = tree(path)
    texts = [node.value for node in ast.walk(module) if isinstance(node, ast.Expr)]
    texts += [
        node.value for node in module.body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets[0])
    ]
    silent = {id(part) for text in texts if isinstance(text, ast.Constant | ast.List) for part in ast.walk(text)}
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id, Use(path, node.lineno, loose=False)
        elif isinstance(node, ast.Attribute):
            yield node.attr, Use(path, node.lineno, loose=True)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            if re.fullmatch(r"[\w\[\], |.:]+", node.value):
                yield from ((word, Use(path, node.lineno, loose=True)) for word in re.findall(r"\w+", node.value))


@cache
def imported(path: Path) -> set[str]:
    return {alias.name for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) for alias in node.names}


def keeps_a_foreign_promise(declaration: Declaration) -> bool:
    """Whether a method overrides one of a class that is not ours: a library calls it."""
    owner = getattr(import_module(module_name(declaration.path)), declaration.owner, object)
    return any(
        declaration.name in vars(base) for base in owner.__mro__ if not base.__module__.startswith("trade_engine")
    )


def test_nothing_is_declared_that_nothing_uses() -> None:
    """By name, within src/: what only tests use is the tests' own.  Its own body is no use of a thing."""
    sources = [path for path in python_files() if path.is_relative_to(SOURCE)]
    known: dict[str, list[Use]] = defaultdict(list)
    for path in sources:
        for name, use in uses(path):
            known[name].append(use)

    def is_used(declared: Declaration) -> bool:
        for use in known[declared.name]:
            if use.path == declared.path and declared.first <= use.line <= declared.last:
                continue
            if use.loose or (not declared.owner and (use.path == declared.path or declared.name in imported(use.path))):
                return True
        return False

    dead = [each for path in sources for each in declarations(path) if not is_used(each)]
    promised = {name.partition(".")[2] for name in KEPT if "." in name}
    found = [
        f"{short(each.path)}:{each.first}: {each.full_name}"
        for each in dead
        if each.full_name not in KEPT and not (each.owner and (each.name in promised or keeps_a_foreign_promise(each)))
    ]
    assert not found, "\n" + "\n".join(found)
    assert KEPT.keys() <= {each.full_name for each in dead}


def test_no_two_classes_share_a_name() -> None:
    """What the client's users see may be named as what it stands for in the engine."""
    exported = set(import_module("trade_engine.client").__all__)
    places: dict[str, list[str]] = defaultdict(list)
    for path in python_files():
        if path.is_relative_to(SOURCE):
            public = exported if path.is_relative_to(SOURCE / "trade_engine" / "client") else set()
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.ClassDef) and node.name not in public:
                    places[node.name].append(f"{short(path)}:{node.lineno}")
    shared = [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]
    assert not shared, "\n" + "\n".join(shared)


def logged_events(path: Path) -> Iterator[tuple[int, ast.expr | None]]:
    """Where the module logs a line, and what it calls it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOG_METHODS:
            if ast.unparse(node.func.value) in LOGGERS:
                yield node.lineno, node.args[0] if node.args else None


def test_log_lines_have_fixed_names() -> None:
    """Snake case, and the same for every line of its kind: what differs is a field, which can be searched for."""
    places = [(path, *event) for path in python_files() if path.is_relative_to(SOURCE) for event in logged_events(path)]
    found = [
        f"{short(path)}:{line}: {ast.unparse(name) if name else 'no name'}"
        for path, line, name in places
        if not (isinstance(name, ast.Constant) and re.fullmatch(r"[a-z0-9]+(?:_[a-z0-9]+)*", str(name.value)))
    ]
    assert len(places) > 50
    assert not found, "\n" + "\n".join(found)


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
    assert len(locks) >= 5
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
