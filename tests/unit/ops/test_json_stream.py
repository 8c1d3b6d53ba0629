"""Nothing but JSON where the JSON lines go: warnings, tracebacks of threads, what a collector finds, hostile texts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = """
import logging, threading, warnings
import structlog
from trade_engine.ops.logging import configure_logging, take_everything

configure_logging("info", "json", 0)
take_everything()
log = structlog.get_logger("x")
warnings.warn("odd\\nand long")
logging.getLogger("uvicorn.error").error("multi\\nline %s", "text")
log.info("surrogate", text=chr(0xd800), number=1 << 70, thing=object(), key={1: 2})
def die():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=die)
thread.start()
thread.join()
class Unwilling:
    def __del__(self):
        raise ValueError("in a destructor")
Unwilling()
raise KeyError("at the end")
"""


def lines_of(script: str) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run([sys.executable, "-W", "always", "-c", script], capture_output=True, timeout=60, check=False)
    assert not done.stdout
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_whatever_would_print_by_itself_is_a_line() -> None:
    status, lines = lines_of(SCRIPT)
    assert status == 1
    events = [line["event"] for line in lines]
    assert "odd\nand long" in events[0]
    assert events[1:3] == ["multi\nline text", "surrogate"]
    for line, error in zip(lines[3:], ("in a thread", "in a destructor", "at the end"), strict=True):
        assert error in line["exception"]
        assert line["exception"].startswith("Traceback")


def test_a_file_takes_the_lines_and_can_be_moved_away(tmp_path: Path) -> None:
    file, moved = tmp_path / "engine.log", tmp_path / "moved.log"
    script = f"""
import os, structlog
from trade_engine.ops.logging import configure_logging
configure_logging("info", "json", 0, {str(file)!r})
structlog.get_logger("x").info("first")
os.rename({str(file)!r}, {str(moved)!r})
structlog.get_logger("x").info("second")
configure_logging("info", "json", 0, {str(file)!r})
structlog.get_logger("x").info("third")
"""
    assert lines_of(script) == (0, [])
    assert [json.loads(line)["event"] for line in moved.read_text().splitlines()] == ["first", "second"]
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["third"]
