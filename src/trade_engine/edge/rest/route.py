"""One row of a route table: a path, who may ask, which rate limit counts, and what comes in and goes out."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from trade_engine.edge.rest.call import Handler
from trade_engine.edge.rest.parameters import Parameter
from trade_engine.edge.settings import QUERIES

#: Who may ask: everybody; everybody, but a token counts if there is one; or a role.
OPEN: Final = "open"
OPTIONAL: Final = "optional"

#: What a key may be allowed: to look, or to trade as well.
READ: Final = "read"
TRADE: Final = "trade"


class Route(NamedTuple):
    """One route."""

    #: What the API's description calls it, for ever: generated clients have it as a name.  No two rows share one.
    operation: str
    #: Under what the description lists it; empty for what it leaves out.
    tag: str
    method: str
    path: str
    handler: Handler
    access: str
    #: Its class of rate limit; None: not limited.
    limit: str | None
    #: For how many requests a body counts; None: for one, and the limit is asked before the body is read.
    cost: Callable[[bytes], int] | None = None
    #: The type of the answer's ``data``; of the whole answer, if ``plain``.
    answer: Any = None
    #: The type of the body; None: there is none.
    body: type[Any] | None = None
    #: What the query may have; any other parameter is refused.
    parameters: tuple[Parameter, ...] = ()
    #: Codes of its own, beside those that follow from access, limit, body and path.
    codes: tuple[str, ...] = ()
    #: The status of success, and others that come with the same answer.
    status: int = 200
    also: tuple[int, ...] = ()
    #: What a key must be allowed; None: keys do not open it.
    scope: str | None = None
    #: ``meta`` has a ``next_cursor``.
    paged: bool = False
    #: No envelope.
    plain: bool = False
    #: It reads the database, although it is open to all; so does whatever counts as a query.
    reads: bool = False
    #: What it counts for in the weight of its address, by the query as sent; None: this face does not weigh.
    weight: Callable[[bytes], int] | None = None

    @property
    def is_reading(self) -> bool:
        """Whether a caller may have only so many of these under way."""
        return self.reads or self.limit == QUERIES
