"""What somebody with SQL may falsify, each as statements and as what must then be said: where, and what.

The 39 of an earlier attack come first, then others.  Statements run with triggers off, as a superuser's can.
"""

from typing import Final, NamedTuple

from tests.fixtures.flow import ALICE, BOB, DAVE

#: A settled trade of two different users, and the ids around it.
TRADE: Final = """(SELECT trade_id FROM trades WHERE settlement_status = 'SETTLED' AND buyer_user_id <> seller_user_id
    ORDER BY trade_id LIMIT 1)"""
LAST: Final = "(SELECT trade_id FROM trades WHERE settlement_status = 'SETTLED' ORDER BY trade_id DESC LIMIT 1)"
OPEN_SELL: Final = "(SELECT order_id FROM orders WHERE is_open AND side = 'SELL' ORDER BY order_id LIMIT 1)"
OPEN_BUY: Final = "(SELECT order_id FROM orders WHERE is_open AND side = 'BUY' AND hold > 0 ORDER BY order_id LIMIT 1)"
CANCELLED: Final = """(SELECT order_id FROM orders WHERE status = 'CANCELLED' AND filled_quantity = 0
    ORDER BY order_id LIMIT 1)"""
HEAD: Final = "(SELECT max(last_sequence) FROM journal)"


class Plant(NamedTuple):
    """One falsification: its name, its statements, and a pattern that one of the differences told must have."""

    name: str
    sql: tuple[str, ...]
    says: str


def plant(name: str, says: str, *sql: str) -> Plant:
    return Plant(name, sql, says)


def moved(user: str, asset: str, amount: str) -> str:
    """A balance changed."""
    return f"UPDATE wallet.balances SET available = available + {amount} WHERE user_id = '{user}' AND asset = '{asset}'"


def line_moved(trade: str, line: int, amount: str) -> tuple[str, str]:
    """A line of a trade changed, and its balance with it."""
    where = f"operation_id = {trade} AND line = {line}"
    return (
        f"UPDATE wallet.ledger_entries SET available_delta = available_delta + {amount} WHERE {where}",
        f"""UPDATE wallet.balances SET available = available + {amount}
            WHERE (user_id, asset) = (SELECT user_id, asset FROM wallet.ledger_entries WHERE {where})""",
    )


def entry(
    kind: str, line: int, user: str, asset: str, available: str, reserved: str, order: str, operation: str
) -> str:
    """An entry as the wallet writes them, its after-values right."""
    return f"""INSERT INTO wallet.ledger_entries (type, line, operation_id, user_id, reference_id, asset,
            available_delta, reserved_delta, available_after, reserved_after, description)
        SELECT '{kind}', {line}, {operation}, '{user}', {order}, '{asset}', {available}, {reserved},
            b.available + {available}, b.reserved + {reserved}, '{"order" if line == 11 else "improvement"}'
        FROM wallet.balances b WHERE user_id = '{user}' AND asset = '{asset}'"""


_FORGED: Final = "'01a00000-0000-7000-8000-00000000f001'::UUID"
_OTHER: Final = "'01a00000-0000-7000-8000-00000000f002'::UUID"
_NEVER: Final = "'01a00000-0000-7000-8000-00000000f003'::UUID"

LEDGER: Final = (
    plant("a balance has more than its entries", f"balance: user {ALICE}", moved(ALICE, "USDT", "1")),
    plant(
        "one balance has what another lacks",
        f"balance: user {BOB}",
        moved(ALICE, "USDT", "1"),
        moved(BOB, "USDT", "-1"),
    ),
    plant(
        "a fee line of a trade is gone",
        r"trade .*, line 5 is missing",
        f"DELETE FROM wallet.ledger_entries WHERE line = 5 AND operation_id = {TRADE}",
    ),
    plant(
        "a settled trade is not in the ledger",
        r"trade .*, line 1 is missing",
        f"DELETE FROM wallet.ledger_entries WHERE operation_id = {TRADE}",
    ),
    plant(
        "a deposit that nobody made",
        r"funding: DEPOSIT .* of user .*available_delta is 5; chain: none",
        f"""INSERT INTO wallet.ledger_entries (type, line, operation_id, user_id, reference_id, asset, available_delta,
                reserved_delta, available_after, reserved_after, description)
            SELECT 'DEPOSIT', v.line, {_FORGED}, v.user_id, {_FORGED}, 'USDT', v.delta, 0, b.available + v.delta,
                b.reserved, 'deposit'
            FROM (VALUES (13, '{ALICE}'::UUID, 5), (14, wallet.outside_account(), -5)) AS v (line, user_id, delta)
            JOIN wallet.balances b ON b.user_id = v.user_id AND b.asset = 'USDT'""",
        moved(ALICE, "USDT", "5"),
        """UPDATE wallet.balances SET available = available - 5
            WHERE user_id = wallet.outside_account() AND asset = 'USDT'""",
    ),
    plant(
        "a transfer between users that is called a release",
        r"order .*f001: nothing tells of entry",
        entry("RELEASE", 12, ALICE, "USDT", "5", "0", _FORGED, _FORGED),
        entry("RELEASE", 11, BOB, "USDT", "-5", "0", _FORGED, _FORGED),
        moved(ALICE, "USDT", "5"),
        moved(BOB, "USDT", "-5"),
    ),
    plant(
        "the proceeds of a sale go to another user",
        r"trade .*, line 4: user_id is .*, should be",
        f"""WITH x AS (SELECT * FROM wallet.ledger_entries WHERE operation_id = {TRADE} AND line = 4)
            UPDATE wallet.balances b SET available = b.available
                + CASE WHEN b.user_id = x.user_id THEN -x.available_delta ELSE x.available_delta END
            FROM x WHERE b.asset = x.asset AND (b.user_id = x.user_id OR b.user_id = '{DAVE}')""",
        f"UPDATE wallet.ledger_entries SET user_id = '{DAVE}' WHERE operation_id = {TRADE} AND line = 4",
    ),
    plant(
        "the seller receives less and the exchange more",
        r"trade .*, line 4: available_delta is",
        *line_moved(TRADE, 4, "-1"),
        *line_moved(TRADE, 7, "1"),
    ),
    plant(
        "after-values of what buyers received",
        r"after values: .*available_after is",
        "UPDATE wallet.ledger_entries SET available_after = available_after + 7 WHERE line = 2",
    ),
    plant(
        "reserves are older and called otherwise",
        r"dates: .*created_at is|description is x, should be order",
        """UPDATE wallet.ledger_entries SET description = 'x', created_at = created_at - INTERVAL '1 day'
            WHERE line = 11""",
    ),
)
ROWS: Final = (
    plant(
        "a trade's price",
        r"trades: trade .*: price is \d+, should be \d+",
        f"UPDATE trades SET price = price + 1 WHERE trade_id = {TRADE}",
    ),
    plant(
        "a buyer's fee by the smallest unit",
        r"trades: trade .*: buyer_fee is \d+, should be \d+",
        f"UPDATE trades SET buyer_fee = buyer_fee + 0.00000001 WHERE trade_id = {TRADE}",
    ),
    plant(
        "trades settled the day before",
        r"settlement: trade .*: settled_at is .*, should be from",
        """UPDATE trades SET settled_at = settled_at - INTERVAL '1 day', settlement_attempts = 2
            WHERE settlement_status = 'SETTLED'""",
    ),
    plant(
        "a settled trade is called resolved",
        r"settlement: trade .*FAILED, no audit says|the ledger has settled it",
        f"""UPDATE trades SET settlement_status = 'FAILED', settled_at = NULL,
                settlement_reason = 'RESOLVED: paid by hand' WHERE trade_id = {TRADE}""",
    ),
    plant(
        "a trade is gone with its entries",
        r"trades: trade .* is missing",
        f"DELETE FROM wallet.ledger_entries WHERE operation_id = {LAST}",
        f"DELETE FROM trades WHERE trade_id = {LAST}",
    ),
    plant(
        "an open order trades for free",
        r"orders: order .*: maker_fee is 0, should be \d+",
        f"UPDATE orders SET maker_fee = 0, taker_fee = 0 WHERE order_id = {OPEN_SELL}",
    ),
    plant(
        "an ended order's fee rate",
        r"orders: order .*: maker_fee is 0, should be \d+",
        f"UPDATE orders SET maker_fee = 0 WHERE order_id = {CANCELLED}",
    ),
    plant(
        "an open order's price",
        r"orders: order .*: price is \d+, should be \d+",
        f"UPDATE orders SET price = price + 1 WHERE order_id = {OPEN_SELL}",
    ),
    plant(
        "whose institution and called what",
        r"orders: order .*: client_order_id is zzz, should be .*institution_id is evil",
        f"UPDATE orders SET institution_id = 'evil', client_order_id = 'zzz' WHERE order_id = {CANCELLED}",
    ),
    plant(
        "an order's id",
        r"orders: order .*: order_id is .*f, should be",
        f"""UPDATE orders SET order_id = overlay(order_id::TEXT PLACING 'ffff' FROM 33)::UUID
            WHERE order_id = {CANCELLED}""",
    ),
    plant(
        "what a market order reserved",
        r"orders: order .*: reserved is \d+, should be \d+",
        "UPDATE orders SET reserved = reserved + 3 WHERE type = 'MARKET' AND side = 'BUY'",
    ),
    plant(
        "cancelled orders have expired",
        r"orders: order .*: status is EXPIRED, should be CANCELLED",
        "UPDATE orders SET status = 'EXPIRED' WHERE status = 'CANCELLED'",
    ),
    plant(
        "an open order that nobody placed",
        r"orders: order .* is in no batch of the journal",
        f"CREATE TEMP TABLE forged AS SELECT * FROM orders WHERE order_id = {OPEN_SELL}",
        f"UPDATE forged SET order_id = {_FORGED}, sequence = 999999, client_order_id = NULL, hold = 0, reserved = 0",
        "INSERT INTO orders SELECT * FROM forged",
    ),
    plant("client order ids forgotten", r"client_orders has not its client_order_id", "DELETE FROM client_orders"),
    plant(
        "a client order id leads to another order",
        r"client_orders: .*: order_id is .*, should be",
        f"""UPDATE client_orders SET order_id = {CANCELLED} WHERE client_order_id = (
            SELECT min(client_order_id) FROM client_orders WHERE order_id <> {CANCELLED})""",
    ),
    plant(
        "a bit of the last commands",
        r"chain: batch .* does not have the hash of what it holds",
        """UPDATE journal SET commands = set_byte(commands, 20, get_byte(commands, 20) # 1)
            WHERE last_sequence = (SELECT max(last_sequence) FROM journal WHERE length(commands) > 20)""",
    ),
    plant(
        "the journal's last batch is gone",
        r"chain: engine_state: sequence is \d+, should be \d+",
        f"DELETE FROM journal WHERE last_sequence = {HEAD}",
    ),
    plant(
        "the journal's epochs", r"chain: batch .*: epoch is \d+, should be \d+", "UPDATE journal SET epoch = epoch + 5"
    ),
    plant(
        "a market's fee, last price and count of events",
        r"markets: market AAA/USDT: last_price is \d+, should be \d+",
        """UPDATE markets SET taker_fee = 0, last_price = last_price + 1, event_sequence = event_sequence + 3
            WHERE symbol = 'AAA/USDT'""",
    ),
    plant(
        "a market's rules",
        r"markets: market AAA/USDT: price_band_ppm is 1, should be \d+",
        "UPDATE markets SET max_fills = 0, price_band_ppm = 1 WHERE symbol = 'AAA/USDT'",
    ),
    plant(
        "two traders' numbers exchanged",
        r"traders: trader \d+: user_id is .*, should be",
        "ALTER TABLE traders DROP CONSTRAINT traders_user_id_key",
        f"""UPDATE traders SET user_id = CASE user_id WHEN '{ALICE}' THEN '{BOB}'::UUID ELSE '{ALICE}' END
            WHERE user_id IN ('{ALICE}', '{BOB}')""",
    ),
    plant(
        "two users exchanged, in their ended orders as well",
        r"orders: order .*: user_id is .*, should be",
        "ALTER TABLE traders DROP CONSTRAINT traders_user_id_key",
        f"""UPDATE traders SET user_id = CASE user_id WHEN '{ALICE}' THEN '{BOB}'::UUID ELSE '{ALICE}' END
            WHERE user_id IN ('{ALICE}', '{BOB}')""",
        f"""UPDATE orders SET user_id = CASE user_id WHEN '{ALICE}' THEN '{BOB}'::UUID ELSE '{ALICE}' END
            WHERE user_id IN ('{ALICE}', '{BOB}')""",
    ),
    plant(
        "the engine's counters",
        r"chain: engine_state: clock_us is \d+, should be \d+",
        """UPDATE engine_state SET clock_us = clock_us + 1, trade_sequence = trade_sequence + 10,
            instruction_id = instruction_id + 10""",
    ),
    plant(
        "reservations of an epoch to come",
        r"reservations: order .*epoch is \d+",
        "UPDATE wallet.reservations SET epoch = epoch + 1000",
    ),
    plant(
        "a reservation is another order's",
        r"is reserved, the engine needs 0|has reserved nothing",
        f"UPDATE wallet.reservations SET order_id = {_FORGED} WHERE order_id = {OPEN_SELL}",
    ),
    plant(
        "part of a reservation freed",
        r"is reserved, the engine needs",
        f"UPDATE wallet.reservations SET remaining = remaining - 1 WHERE order_id = {OPEN_BUY}",
        f"""UPDATE wallet.balances SET reserved = reserved - 1, available = available + 1
            WHERE (user_id, asset) = (SELECT user_id, asset FROM wallet.reservations WHERE order_id = {OPEN_BUY})""",
    ),
    plant(
        "a release that waits for an ended order",
        r"settlement: instruction 999999 is in no batch of the journal",
        f"""INSERT INTO settlement_instructions (instruction_id, kind, order_id, user_id, asset, amount, reason, status,
                created_at)
            SELECT 999999, 'RELEASE', order_id, user_id, 'USDT', 1, 'improvement', 'FAILED', now()
            FROM orders WHERE order_id = {CANCELLED}""",
    ),
    plant(
        "candles",
        r"candles: market .*: high is [\d.]+, should be [\d.]+",
        "UPDATE candles SET high = high * 2, volume = volume * 2",
    ),
    plant("the audit is gone", r"audit: row 1 is missing: ", "DELETE FROM admin_audit"),
)
EARLIER: Final = (*LEDGER, *ROWS)
