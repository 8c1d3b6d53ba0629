"""The catalogue of tests: every file, what it is about, and what each test says; made from the tests themselves.

    python scripts/test_catalogue.py        # prints the page

mkdocs calls ``on_files`` while it builds the guides, so that the page cannot be old.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = "developer/test-catalogue.md"
_HEAD: Final = """# Test catalogue

Made from the tests: {tests} of them in {files} files. A test with parameters is one here and many when it runs. What
all of this is for: the [test plan](test-plan.md).
"""


def each_test(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The tests of a file, in order; those of its classes, too."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def line_of(test: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A test's name as a sentence, and its docstring's first line."""
    sentence = test.name.removeprefix("test_").replace("_", " ")
    told = (ast.get_docstring(test) or "").partition("\n")[0]
    return f"- {sentence}{f' — {told}' if told else ''}".replace("<", "&lt;")


def catalogue() -> str:
    """The page."""
    parts, count, files = [], 0, 0
    folder = None
    for file in sorted((ROOT / "tests").rglob("test_*.py"), key=lambda file: (file.parent, file.name)):
        module = ast.parse(file.read_text(encoding="utf-8"))
        tests = list(each_test(module))
        if not tests:
            continue
        place = file.parent.relative_to(ROOT)
        if place != folder:
            folder = place
            parts.append(f"\n## {place}\n")
        about = (ast.get_docstring(module) or "").partition("\n\n")[0].replace("\n", " ").replace("<", "&lt;")
        parts.append(f"\n### {file.name}\n\n{about}\n\n" + "\n".join(map(line_of, tests)) + "\n")
        count, files = count + len(tests), files + 1
    return _HEAD.format(tests=count, files=files) + "".join(parts)


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs: the page joins the others."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=catalogue()))
    return files


if __name__ == "__main__":
    sys.stdout.write(catalogue())
