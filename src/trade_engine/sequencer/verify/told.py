"""What the replayed journal says of money: every reserve, release and settlement, in a temporary table.

The ledger is then compared with it by the database, which sorts and joins on disk: nothing grows in memory here.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.enums import Side
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order
from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.settlement.instructions import release_operation
from trade_engine.storage.types import AnyConnection

_TABLE: Final = "told_moves"
_COLUMNS: Final = (
    "kind", "instruction_id", "operation_id", "order_id", "user_id", "asset", "amount", "reason", "stamped_us", "given",
)  # fmt: skip
_PAGE: Final = 5_000
_CREATE: Final = f"""
    CREATE TEMP TABLE {_TABLE} (
        -- RESERVE, RELEASE or SETTLE
        kind TEXT NOT NULL,
        -- NULL where the journal has no facts.
        instruction_id BIGINT,
        -- A trade, an order, or the release's; NULL if it is not known.
        operation_id UUID,
        order_id UUID,
        user_id UUID,
        asset TEXT COLLATE "C",
        -- Units of 1e-8; NULL is all that is left.
        amount BIGINT,
        reason TEXT,
        stamped_us BIGINT NOT NULL,
        -- It follows from no event.
        given BOOLEAN NOT NULL
    ) ON COMMIT DROP"""

_FORGET: Final = f"""
    DELETE FROM {_TABLE} t WHERE t.stamped_us < $1 AND (t.order_id IS NULL OR (t.order_id <> ALL ($2::UUID[])
        AND NOT EXISTS (SELECT FROM {_TABLE} k WHERE k.order_id = t.order_id AND k.stamped_us >= $1)))"""


class ToldMoves:
    """The temporary table, filled in pages."""

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []

    async def create(self) -> None:
        """Make the table; it goes when the transaction ends, which from now on may write nothing else."""
        await self._connection.execute(_CREATE)
        await self._connection.execute(
            "SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; SET LOCAL timezone = 'UTC';"
            " SET LOCAL datestyle = 'ISO'; SET TRANSACTION READ ONLY"
        )

    def placed(self, order: Order, market: Market, stamped_us: int) -> None:
        """A new order reserved its funds."""
        if order.reserved:
            self._reserve(order, market, order.order_id, order.reserved, "order", stamped_us)

    def amended(self, command: Command, order: Order | None, market: Market) -> None:
        """An amendment reserved more; under which operation is not told."""
        if command.kind == CommandKind.AMEND and command.linked_number and order is not None:
            self._reserve(order, market, None, command.linked_number, "amendment", command.time_us)

    def _reserve(
        self, order: Order, market: Market, operation: str | None, amount: int, reason: str, stamped_us: int
    ) -> None:
        asset = market.base if order.side is Side.SELL else market.quote
        self._rows.append(
            ("RESERVE", None, operation, order.order_id, order.user_id, asset, amount, reason, stamped_us, False)
        )

    def instructed(self, item: WalletInstruction, number: int | None, stamped_us: int, *, given: bool) -> None:
        """A wallet instruction of this number (None: not known) was written."""
        operation = item.trade_id
        if item.order_id is not None and number is not None:
            operation = release_operation(item.order_id, number)
        self._rows.append(
            (
                item.kind, number, operation, item.order_id, item.user_id, item.asset, item.amount, item.reason,
                stamped_us, given,
            )
        )  # fmt: skip

    def recall(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take rows as an anchor kept them."""
        self._rows.extend(tuple(row) for row in rows)

    async def keep(self, edge_us: int, lived: Sequence[str]) -> list[tuple[Any, ...]]:
        """Forget what was told before an edge, but of orders that lived then or were told of since; what is left of it.

        Args:
            edge_us: microseconds since 1970.
            lived: ids of the orders that lived.
        """
        await self._connection.execute(_FORGET, edge_us, list(lived))
        columns = ", ".join(f"{name}::TEXT" if name.endswith("_id") and name != "instruction_id" else name
                            for name in _COLUMNS)  # fmt: skip
        query = f"SELECT {columns} FROM {_TABLE} WHERE stamped_us < $1 ORDER BY stamped_us, instruction_id"
        return [tuple(row) for row in await self._connection.fetch(query, edge_us)]

    async def write(self, *, last: bool = False) -> None:
        """Write what was gathered, if it fills a page or nothing more comes."""
        if len(self._rows) >= _PAGE or (last and self._rows):
            await self._connection.copy_records_to_table(
                _TABLE, records=self._rows, columns=_COLUMNS, schema_name="pg_temp"
            )
            self._rows = []
        if last:
            await self._connection.execute(f"ANALYZE pg_temp.{_TABLE}")
