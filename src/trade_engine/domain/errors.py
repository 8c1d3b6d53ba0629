"""What the engine answers when it will not, or cannot, do what was asked.

EngineError                       a stable code, a message, details
+-- InvalidRequest                the request itself is wrong; it would be wrong again
+-- Refused                       a rule of the market, or the state of an order or account, forbids it now
+-- NotFound                      there is no such thing, or it is somebody else's
+-- Unavailable                   something the engine needs is away; nothing was done, repeat later
    +-- OutcomeUnknown            it may have been done: repeat with the same client_order_id
"""

from typing import Any


class EngineError(Exception):
    """Base of all refusals; ``code`` is stable and documented, ``details`` name the field, what came, and the limit."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class InvalidRequest(EngineError):
    """The request itself is wrong."""


class Refused(EngineError):
    """A rule or a state forbids it."""


class NotFound(EngineError):
    """There is no such thing for this caller."""


class Unavailable(EngineError):
    """A dependency is away; nothing was done."""


class OutcomeUnknown(Unavailable):
    """The commit's fate is not known to this caller."""
