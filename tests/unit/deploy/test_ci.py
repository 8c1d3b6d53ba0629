"""Continuous integration installs what tests want of the system, by the README's own command, and only then."""

import re
import subprocess
from collections.abc import Collection
from pathlib import Path
from shutil import which
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
README: Final = ROOT / "README.md"
WANTED: Final = {"rabbitmq-server", "redis-server", "pgbouncer", "prometheus", "promtool", "amtool", "curl", "chromium"}


def run(folder: Path, programs: Collection[str], *, user: int = 0, apt: str = "exit 0") -> list[str]:
    """What ``.ci/run`` calls on a machine that has ``programs``: each call a line, in order."""
    calls = folder / "calls"
    for name in ("bash", "dirname", "sed", "env"):
        (folder / name).symlink_to(which(name) or name)
    said = f'echo "$(basename "$0") $*" >> {calls}'
    scripts = dict.fromkeys(programs, "exit 1") | {"make": said, "apt-get": f"{said}; {apt}", "id": f"echo {user}"}
    scripts["sudo"] = f'{said}; shift; exec "$@"'
    for name, script in scripts.items():
        (folder / name).write_text(f'#!/bin/sh\nbasename() {{ echo "${{1##*/}}"; }}\n{script}\n')
        (folder / name).chmod(0o755)
    subprocess.run([str(ROOT / ".ci" / "run")], env={"PATH": str(folder)}, check=True, timeout=30)
    return calls.read_text().splitlines()


def command() -> str:
    """The README's command, without sudo."""
    (found,) = re.findall(r"^ +sudo (apt-get install .+)$", README.read_text(), re.MULTILINE)
    return str(found)


def test_nothing_is_installed_where_nothing_is_missing(tmp_path: Path) -> None:
    assert run(tmp_path, WANTED) == ["make test"]


@pytest.mark.parametrize("missing", sorted(WANTED))
def test_a_missing_program_brings_the_command_of_the_readme(tmp_path: Path, missing: str) -> None:
    assert run(tmp_path, WANTED - {missing}) == ["apt-get update", command(), "make test"]


def test_who_is_not_root_asks_sudo(tmp_path: Path) -> None:
    noninteractive = "sudo -n env DEBIAN_FRONTEND=noninteractive"
    assert run(tmp_path, (), user=1000) == [
        f"{noninteractive} apt-get update", "apt-get update", f"{noninteractive} {command()}", command(), "make test",
    ]  # fmt: skip


def test_tests_run_all_the_same_where_nothing_can_be_installed(tmp_path: Path) -> None:
    assert run(tmp_path, (), apt="exit 100") == ["apt-get update", "make test"]
