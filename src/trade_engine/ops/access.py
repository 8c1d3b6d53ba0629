"""One line a request: cheap, because there is one for each, and written a few at a time."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

from trade_engine.ops.logging import write_lines, writes_json

log = structlog.get_logger(__name__)

#: Lines wait so long, or until there are so many.
_WAIT_S: Final = 0.1
_LINES_MAX: Final = 512
_FORM: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class AccessLines:
    """Writes the lines; ``flush`` it when the process ends."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def tell(self, line: dict[str, Any]) -> None:
        """A request was answered: method, path, status, ms, request_id, address, user_id and what else is known."""
        if not writes_json(logging.INFO):
            log.info("request", **line)
            return
        line["event"], line["level"] = "request", "info"
        line["timestamp"] = datetime.now(UTC)
        try:
            self._lines.append(orjson.dumps(line, option=_FORM))
        except TypeError:
            # A text that is none, as of a path with half a character in it.
            log.info("request", **{key: repr(line[key]) for key in line if key not in ("event", "level", "timestamp")})
            return
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(_WAIT_S, self.flush)
        elif len(self._lines) >= _LINES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            lines, self._lines = self._lines, []
            write_lines(b"".join(lines))
