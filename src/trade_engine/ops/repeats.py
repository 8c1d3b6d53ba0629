"""Repeated log lines: the first of its kind is written, the next ones are counted and told once a period.

An outage can make thousands of equal lines a second; they would fill a disk and hide what matters.  Only warnings and
errors are held back, never one marked ``one_of_a_kind`` (a fact of its own: a difference found, a key refused), and
what was held back is always told: at most a period later, or when the process ends in order.
"""

import atexit
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import structlog
from structlog.typing import EventDict, WrappedLogger

#: Marks a line that is written whatever came before it; not shown.
ONE_OF_A_KIND: Final = "one_of_a_kind"
#: What a line of the standard library says before its arguments are filled in; not shown.
TEMPLATE: Final = "_template"
#: Kinds remembered at a time; the oldest is told and forgotten when there are more.
_KINDS_MAX: Final = 256
_COUNTED_LEVELS: Final = frozenset(("warning", "error"))
_TEXT_MAX: Final = 200
#: Numbers, addresses and ids, which differ between lines of one kind.
_ID: Final = re.compile(r"[0-9a-fA-F-]*\d[0-9a-fA-Fx-]*")
_TYPE: Final = re.compile(r"[A-Za-z_][\w.]*(?=\()")

Kind = tuple[str, str, str, str]


class _Counted:
    """One kind of line: when it is due, and the last that was held back."""

    __slots__ = ("due_s", "held", "last")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.held = 0
        self.last: EventDict = {}


def kind_of(logger_name: str, line: EventDict) -> Kind:
    """What makes lines equal: event (ids and numbers aside), level, logger and the type of the error."""
    text = str(line.get(TEMPLATE) or line.get("event", "")).partition("\n")[0][:_TEXT_MAX]
    return _ID.sub("#", text), str(line.get("level")), logger_name, _error_type(line)


def _error_type(line: EventDict) -> str:
    raised = line.get("exc_info")
    if isinstance(raised, BaseException):
        return type(raised).__name__
    if isinstance(raised, tuple) and raised[0] is not None:
        return str(raised[0].__name__)
    found = _TYPE.match(str(line.get("error", line.get("reason", "")))[:_TEXT_MAX])
    return found.group() if found else ""


class RepeatedLines:
    """A structlog processor; lines it holds back go to ``tell`` later, with ``repeated`` and the last one's fields.

    Args:
        period_s: seconds between two lines of one kind; 0: nothing is held back.
        tell: writes a line; called from a thread of this object's own.
        now_s: a clock that never goes back.
    """

    def __init__(
        self, period_s: float, tell: Callable[[EventDict], None], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._period_s = period_s
        self._tell = tell
        self._now_s = now_s
        self._kinds: OrderedDict[Kind, _Counted] = OrderedDict()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        atexit.register(self.close)

    def __call__(self, logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
        """Let a line pass, or hold it back.

        Raises:
            structlog.DropEvent: it is held back.
        """
        del method
        if line.get("exc_info") is True:
            line["exc_info"] = sys.exc_info()
        one_of_a_kind = line.pop(ONE_OF_A_KIND, False)
        if one_of_a_kind or self._period_s <= 0 or line.get("level") not in _COUNTED_LEVELS:
            line.pop(TEMPLATE, None)
            return line
        kind = kind_of(str(getattr(logger, "name", None) or ""), line)
        line.pop(TEMPLATE, None)
        if self._hold(kind, line):
            raise structlog.DropEvent
        return line

    def _hold(self, kind: Kind, line: EventDict) -> bool:
        overflow: list[EventDict] = []
        with self._changed:
            counted = self._kinds.get(kind)
            if counted is not None and not self._closed:
                counted.held += 1
                counted.last = _without_frames(line)
                return True
            if not self._closed:
                self._kinds[kind] = _Counted(self._now_s() + self._period_s)
                if len(self._kinds) > _KINDS_MAX:
                    overflow = _told(self._kinds.popitem(last=False)[1])
                self._look_after()
        for each in overflow:
            self._tell(each)
        return False

    def tell_due(self) -> float | None:
        """Tell what was held back and is due; seconds until the next is, None if nothing is remembered."""
        due: list[EventDict] = []
        with self._changed:
            now_s = self._now_s()
            for kind, counted in list(self._kinds.items()):
                if counted.due_s > now_s:
                    continue
                if counted.held:
                    due += _told(counted)
                    counted.due_s = now_s + self._period_s
                else:
                    # A whole period without one: its next is the first again.
                    del self._kinds[kind]
            next_s = min((counted.due_s for counted in self._kinds.values()), default=None)
        for each in due:
            self._tell(each)
        return None if next_s is None else max(0.0, next_s - now_s)

    def close(self) -> None:
        """Tell all that was held back; from now on every line passes."""
        with self._changed:
            self._closed = True
            left = [line for counted in self._kinds.values() for line in _told(counted)]
            self._kinds.clear()
            self._changed.notify_all()
        for each in left:
            self._tell(each)
        atexit.unregister(self.close)

    def _look_after(self) -> None:
        """Have a thread tell what is due; it ends when nothing is remembered.  The loop may stand still: it goes on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="repeated log lines", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            pause_s = self.tell_due()
            with self._changed:
                if not self._kinds:
                    self._thread = None
                    return
                self._changed.wait(pause_s if pause_s is not None else 0.0)


def _told(counted: _Counted) -> list[EventDict]:
    """The line that tells of those held back, if there are; they count as told."""
    if not counted.held:
        return []
    line = {**counted.last, "repeated": counted.held}
    counted.held, counted.last = 0, {}
    return [line]


def _without_frames(line: EventDict) -> dict[str, Any]:
    """A line to keep: its error as text, because a traceback would keep alive all it refers to."""
    raised = line.get("exc_info")
    error = raised[1] if isinstance(raised, tuple) else raised
    kept = {key: value for key, value in line.items() if key not in ("exc_info", "stack_info")}
    if isinstance(error, BaseException):
        kept.setdefault("error", repr(error)[:_TEXT_MAX])
    return kept
