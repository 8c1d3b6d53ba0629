"""Structured logs on standard error: JSON lines for machines, or lines for people; those of libraries as well."""

import logging
import sys
from typing import BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

from trade_engine.ops.repeats import TEMPLATE, RepeatedLines

_LEVELS = logging.getLevelNamesMapping()
_last: list[RepeatedLines] = []


def configure_logging(level: str, form: str, repeat_s: float = 10.0, output: BinaryIO | None = None) -> None:
    """Set up structlog, and the standard library's logging for libraries.

    Args:
        level: debug, info, warning or error.
        form: json or console.
        repeat_s: equal warnings and errors are written once and then told of once in so many seconds; 0: all are.
        output: where lines go; None: standard error.
    """
    number = _LEVELS[level.upper()]
    stream = output or sys.stderr.buffer
    factory = structlog.BytesLoggerFactory(stream)
    render = _rendering(form, colors=sys.stderr.isatty() and output is None)
    plain = factory()

    def tell(line: EventDict) -> None:
        plain.msg(_rendered(render, plain, line))

    for before in _last:
        before.close()
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


def _rendering(form: str, *, colors: bool) -> list[Processor]:
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=orjson.dumps)]
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
