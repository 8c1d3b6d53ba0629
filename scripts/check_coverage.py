"""Fail unless every package under ``src/trade_engine`` is covered above the floor.

The whole could hide a layer that no test touches; so each package is measured alone, top-level modules together.
"""

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Final

from coverage import Coverage
from coverage.exceptions import NoDataError

FLOOR_PERCENT: Final = 80.0
ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ROOT / "src" / "trade_engine"


def package_of(file: str) -> str | None:
    """The package a measured file belongs to (``(top)`` for top-level modules); None outside the engine."""
    parts = Path(file).parts
    if "trade_engine" not in parts:
        return None
    inner = parts[parts.index("trade_engine") + 1 :]
    return inner[0] if len(inner) > 1 else "(top)"


def measure() -> dict[str, tuple[int, int]]:
    """Covered and coverable lines and branches a package."""
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"))
    coverage.load()
    if any(ROOT.glob(".coverage.*")):
        coverage.combine(keep=False)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "coverage.json"
        coverage.json_report(outfile=str(target))
        report = json.loads(target.read_text())
    sums: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for file, entry in report["files"].items():
        package = package_of(file)
        if package is None:
            continue
        summary = entry["summary"]
        covered, total = sums[package]
        sums[package] = (
            covered + summary["covered_lines"] + summary["covered_branches"],
            total + summary["num_statements"] + summary["num_branches"],
        )
    return dict(sums)


def main() -> int:
    """Print one line a package; 1 if one is below the floor or was not measured at all."""
    try:
        sums = measure()
    except NoDataError:
        sys.stdout.write("coverage: no test was measured\n")
        return 1
    packages = {path.parent.name for path in PACKAGES.glob("*/__init__.py")}
    sys.stdout.write(f"coverage a package, lines and branches, floor {FLOOR_PERCENT:.0f} %\n")
    failed = False
    for package in sorted(packages | sums.keys()):
        covered, total = sums.get(package, (0, 0))
        percent = 100.0 * covered / total if total else 100.0
        low = percent <= FLOOR_PERCENT
        failed |= low
        mark = "  BELOW THE FLOOR" if low else ""
        sys.stdout.write(f"{package:<14}{covered:>7} of {total:>6}  {percent:6.1f} %{mark}\n")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
