"""Structured logs: JSON lines for machines, or lines for people; those of libraries, warnings and tracebacks as well.

In the JSON form nothing else is written to where the lines go: whatever would print by itself becomes a line.
"""

import json
import logging
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import orjson
import structlog
from structlog.typing import EventDict, Processor

from trade_engine.ops.repeats import TEMPLATE, RepeatedLines

log = structlog.get_logger(__name__)

_LEVELS = logging.getLevelNamesMapping()
_last: list[RepeatedLines] = []
_ENDED: Final = "the process was told to stop"


class _Output:
    """Where lines go, and which; there is one."""

    stream: BinaryIO | None = None
    #: Opened by us.
    file: BinaryIO | None = None
    level = logging.INFO
    form = "json"


def configure_logging(level: str, form: str, repeat_s: float = 10.0, output: BinaryIO | str | None = None) -> None:
    """Set up structlog, and the standard library's logging for libraries.

    Args:
        level: debug, info, warning or error.
        form: json or console.
        repeat_s: equal warnings and errors are written once and then told of once in so many seconds; 0: all are.
        output: where lines go: a stream, ``stderr``, ``stdout`` or the name of a file; None: standard error.

    Raises:
        OSError: the file cannot be written; nothing was changed.
    """
    number = _LEVELS[level.upper()]
    before, stream = _Output.file, _stream(output)
    _Output.stream, _Output.level, _Output.form = stream, number, form
    factory = structlog.BytesLoggerFactory(stream)
    render = _rendering(form, colors=stream is sys.stderr.buffer and sys.stderr.isatty())
    plain = factory()

    def tell(line: EventDict) -> None:
        plain.msg(_rendered(render, plain, line))

    for repeated in _last:
        repeated.close()
    repeats = RepeatedLines(repeat_s, tell)
    _last[:] = [repeats]
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        repeats,
    ]
    structlog.configure(
        processors=[*first, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=factory,
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), handlers=[_LibraryLines(factory, first, render)], force=True
    )
    if before is not None:
        before.close()


def _stream(output: BinaryIO | str | None) -> BinaryIO:
    """Where lines are to go; a file is opened anew, so that one that was moved away is let go of."""
    _Output.file = None
    if output is None or output == "stderr":
        return sys.stderr.buffer
    if output == "stdout":
        return sys.stdout.buffer
    if isinstance(output, str):
        _Output.file = Path(output).open("ab")  # noqa: SIM115 - as long as lines go there
        return _Output.file
    return output


def writes_json(level: int) -> bool:
    """Whether lines of a level are written, and as JSON."""
    return _Output.form == "json" and _Output.level <= level


def write_lines(lines: bytes) -> None:
    """Write whole lines to where all go."""
    if _Output.stream is not None:
        _Output.stream.write(lines)
        _Output.stream.flush()


def take_everything() -> None:
    """From now on warnings and tracebacks of the process are lines as well; for a process that does nothing else."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)
    sys.unraisablehook = lambda given: log.error(
        "exception_ignored", place=repr(given.object), message=given.err_msg, exc_info=given.exc_value
    )


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        log.warning("interrupted", reason=_ENDED)
    elif not issubclass(kind, SystemExit) and error is not None:
        log.critical("uncaught_exception", exc_info=(kind, error, trace))


def _dumped(line: Any, **options: Any) -> bytes:
    """A line as JSON, whatever is in it."""
    try:
        return orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS, **options)
    except TypeError:
        return json.dumps(line, default=repr, skipkeys=True).encode("ascii", "backslashreplace")


def _rendering(form: str, *, colors: bool) -> list[Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumped)]
    return [structlog.dev.ConsoleRenderer(colors=colors), _encoded]


def _encoded(logger: object, method: str, text: EventDict) -> bytes:
    """A console line as bytes."""
    del logger, method
    return str(text).encode(errors="backslashreplace")


def _rendered(processors: list[Processor], logger: object, line: EventDict) -> bytes:
    done: object = line
    for processor in processors:
        done = processor(logger, str(line.get("level", "")), done)  # type: ignore[arg-type]
    assert isinstance(done, bytes)
    return done


class _LibraryLines(logging.Handler):
    """Lines of libraries (uvicorn, asyncpg, asyncio), in the same form as the engine's, and counted like them."""

    def __init__(self, factory: structlog.BytesLoggerFactory, first: list[Processor], render: list[Processor]) -> None:
        super().__init__()
        self._factory = factory
        self._processors = [*first[2:], *render]

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or hold it back."""
        try:
            line = {"event": record.getMessage().rstrip(), "level": record.levelname.lower(), "logger": record.name}
            if record.exc_info:
                line["exc_info"] = record.exc_info  # type: ignore[assignment]
            logger = self._factory(record.name)
            logger.msg(_rendered(self._processors, logger, {**line, TEMPLATE: str(record.msg)}))
        except structlog.DropEvent:
            return
        except Exception:  # noqa: BLE001 - as the standard library does: a line must never break its writer
            self.handleError(record)
