"""What the API tells whoever counts: one word a request.  The API itself counts nothing."""

from typing import Any, Protocol


class Meter(Protocol):
    """Counts requests."""

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; ``route`` is the path's pattern, of which there are few."""

    def placed(self, symbol: str, seconds: float) -> None:
        """An order was placed, over REST or WebSocket, in so many seconds."""


class Access(Protocol):
    """Writes one line a request."""

    def tell(self, line: dict[str, Any]) -> None:
        """A request was answered: what is known of it."""


class NoMeter:
    """Counts nothing."""

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """See ``Meter``."""

    def placed(self, symbol: str, seconds: float) -> None:
        """See ``Meter``."""
