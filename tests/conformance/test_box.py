"""The samples of docs/trader/exchange-in-a-box.md: unmodified clients in an exchange in a box.

As with the stories: ``make conformance`` demands all of them, else those run whose client is there or quickly is.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.clients import CLIENTS, Client, install
from tests.conformance.test_conformance import ALL
from tests.conftest import ROOT

GUIDE: Final = ROOT / "docs" / "trader" / "exchange-in-a-box.md"
SAMPLES: Final = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
NEEDS: Final = {"import ccxt": "ccxt_rest", "from binance": "python_binance"}


def client_of(sample: str) -> Client | None:
    adapter = next((name for words, name in NEEDS.items() if words in sample), None)
    return next((client for client in CLIENTS if client.adapter == adapter), None)


def ran(folder: Path, samples: list[str], client: Client | None) -> str:
    """What pytest says of samples in a folder, with a client beside what the engine has."""
    (folder / "test_samples.py").write_text("\n\n".join(samples))
    others = [f"-pno:{name}" for name in ("asyncio", "anyio", "cov", "hypothesispytest", "schemathesis", "xdist")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    if client is not None:
        (site,) = client.venv.glob("lib/python3*/site-packages")
        env["PYTHONPATH"] = str(site)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *others, "test_samples.py"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=200, check=False)
    return done.stdout + done.stderr


def test_the_samples_of_our_own_client(tmp_path: Path) -> None:
    own = [sample for sample in SAMPLES if client_of(sample) is None]
    assert (len(own), len(SAMPLES)) == (2, 4)
    assert "1 passed" in ran(tmp_path, own[::-1], None), "the first one, with the options of the second"


@pytest.mark.parametrize("sample", [sample for sample in SAMPLES if client_of(sample)], ids=["ccxt", "python-binance"])
def test_a_sample_with_a_client_of_binance(sample: str, tmp_path: Path) -> None:
    client = client_of(sample)
    assert client is not None
    if not ALL and not (client.venv / "installed").exists():
        pytest.skip(f"{client.package} is not installed: make conformance")
    trouble = install(client, within_s=600)
    assert trouble is None, trouble
    assert "1 passed" in ran(tmp_path, [sample], client)
