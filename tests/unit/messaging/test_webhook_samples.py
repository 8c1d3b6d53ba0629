"""The samples of the guide, as they stand there, verify what the engine signs and nothing else."""

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trade_engine.messaging.webhooks.signing import signature_headers

PAGE = (Path(__file__).parents[3] / "docs" / "developer" / "webhooks.md").read_text(encoding="utf-8")
KEY, OLD = bytes(range(32)), bytes(32)
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = '{"event":"trade.executed","price":"1.00","note":"ü"}'.encode()

Verify = Callable[[str, dict[str, str], bytes], bool]


def sample(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def python_sample() -> Verify:
    names: dict[str, Any] = {}
    exec(sample("python"), names)
    verify: Verify = names["verify"]
    return verify


def javascript_sample() -> Verify:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")

    def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
        given = ", ".join((json.dumps(secret), json.dumps(headers), f"Buffer.from('{body.hex()}', 'hex')"))
        program = f"{sample('javascript')}\nconsole.log(verify({given}));"
        done = subprocess.run([str(node), "-e", program], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip() == "true"

    return verify


@pytest.mark.parametrize("make", [python_sample, javascript_sample])
def test_the_sample_verifies_what_is_signed_and_nothing_else(make: Callable[[], Verify]) -> None:
    verify, now_s = make(), int(time.time())
    headers = signature_headers([KEY], "a-1-0", now_s, BODY)
    assert verify(SECRET, headers, BODY)
    assert verify(SECRET, signature_headers([OLD, KEY], "a-1-0", now_s, BODY), BODY)
    assert not verify(SECRET, headers, BODY + b" ")
    assert not verify(SECRET, headers | {"webhook-id": "a-1-1"}, BODY)
    assert not verify(SECRET, headers | {"webhook-timestamp": str(now_s - 1)}, BODY)
    assert not verify(SECRET, signature_headers([OLD], "a-1-0", now_s, BODY), BODY)
    assert not verify(SECRET, signature_headers([KEY], "a-1-0", now_s - 400, BODY), BODY)
