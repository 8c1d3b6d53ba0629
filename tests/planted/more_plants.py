"""More falsifications: of facts, chains, markets, funding, settlement, and of single columns nobody looks at."""

from typing import Final

from tests.fixtures.flow import ALICE, BOB, CAROL
from tests.planted.plants import (
    _FORGED,
    _NEVER,
    _OTHER,
    CANCELLED,
    HEAD,
    OPEN_BUY,
    OPEN_SELL,
    TRADE,
    Plant,
    entry,
    line_moved,
    moved,
    plant,
)  # fmt: skip

_RESOLVED: Final = "(SELECT trade_id FROM trades WHERE settlement_reason LIKE 'RESOLVED:%')"
_DEAD: Final = "(SELECT instruction_id FROM settlement_instructions WHERE status = 'FAILED' AND kind = 'SETTLE')"
_RECEIVED: Final = """(SELECT t.trade_id FROM trades t JOIN markets m USING (market_id)
    WHERE m.symbol = 'RCV/USDT' AND t.settlement_status = 'SETTLED' AND t.buyer_user_id <> t.seller_user_id
    ORDER BY t.trade_id LIMIT 1)"""
_FACTS: Final = "(SELECT last_sequence FROM journal WHERE length(facts) > 60 ORDER BY last_sequence DESC LIMIT 1)"

MONEY: Final = (
    plant(
        "the buyer of a trade receives less, the seller keeps it",
        r"trade .*, line 2: available_delta is",
        f"""UPDATE wallet.ledger_entries SET available_delta = available_delta - 0.01
            WHERE operation_id = {TRADE} AND line = 2""",
        f"""UPDATE wallet.ledger_entries SET reserved_delta = reserved_delta + 0.01
            WHERE operation_id = {TRADE} AND line = 3""",
        f"""UPDATE wallet.balances SET available = available - 0.01 WHERE (user_id, asset) =
            (SELECT user_id, asset FROM wallet.ledger_entries WHERE operation_id = {TRADE} AND line = 2)""",
        f"""UPDATE wallet.balances SET reserved = reserved + 0.01 WHERE (user_id, asset) =
            (SELECT user_id, asset FROM wallet.ledger_entries WHERE operation_id = {TRADE} AND line = 3)""",
    ),
    plant(
        "the exchange's fee goes to a user",
        r"trade .*, line 7: user_id is",
        f"""UPDATE wallet.balances b SET available = b.available
                + CASE WHEN b.user_id = '{BOB}' THEN e.available_delta ELSE -e.available_delta END
            FROM wallet.ledger_entries e
            WHERE e.operation_id = {TRADE} AND e.line = 7 AND b.asset = e.asset
                AND b.user_id IN (e.user_id, '{BOB}')""",
        f"UPDATE wallet.ledger_entries SET user_id = '{BOB}' WHERE operation_id = {TRADE} AND line = 7",
    ),
    plant(
        "a trade is booked under another asset",
        r"trade .*, line 4: asset is RCV, should be USDT",
        f"UPDATE wallet.ledger_entries SET asset = 'RCV' WHERE operation_id = {TRADE} AND line = 4",
    ),
    plant(
        "a fee in what is received is halved",
        r"trade .*, line 5: available_delta is",
        f"""UPDATE wallet.ledger_entries SET available_delta = available_delta / 2
            WHERE operation_id = {_RECEIVED} AND line IN (5, 7)""",
    ),
    plant(
        "a trade nobody made is settled",
        r"trade .*, line 1 is in the ledger, no trade has it|trade .*f001",
        f"""INSERT INTO wallet.ledger_entries (type, line, operation_id, user_id, reference_id, asset, available_delta,
                reserved_delta, available_after, reserved_after, description)
            SELECT type, line, {_FORGED}, user_id, {_FORGED}, asset, available_delta, reserved_delta, available_after,
                reserved_after, description
            FROM wallet.ledger_entries WHERE operation_id = {TRADE}""",
    ),
    plant(
        "a reserve and a release of an order that never was",
        r"ledger: order .*f003: nothing tells of entry",
        entry("RESERVE", 11, CAROL, "USDT", "-7", "7", _NEVER, _NEVER),
        f"""INSERT INTO wallet.ledger_entries (type, line, operation_id, user_id, reference_id, asset, available_delta,
                reserved_delta, available_after, reserved_after, description)
            SELECT 'RELEASE', 12, {_OTHER}, '{CAROL}', {_NEVER}, 'USDT', 7, -7, available, reserved, 'improvement'
            FROM wallet.balances WHERE user_id = '{CAROL}' AND asset = 'USDT'""",
    ),
    plant(
        "a release too many of an open order, its reservation and order with it",
        r"ledger: order .*nothing tells of entry|hold is \d+, should be",
        f"""INSERT INTO wallet.ledger_entries (type, line, operation_id, user_id, reference_id, asset, available_delta,
                reserved_delta, available_after, reserved_after, description)
            SELECT 'RELEASE', 12, {_OTHER}, r.user_id, r.order_id, r.asset, 0.1, -0.1, b.available + 0.1,
                b.reserved - 0.1, 'improvement'
            FROM wallet.reservations r JOIN wallet.balances b USING (user_id, asset) WHERE r.order_id = {OPEN_SELL}""",
        f"""UPDATE wallet.balances SET available = available + 0.1, reserved = reserved - 0.1 WHERE (user_id, asset) =
            (SELECT user_id, asset FROM wallet.reservations WHERE order_id = {OPEN_SELL})""",
        f"UPDATE wallet.reservations SET remaining = remaining - 0.1 WHERE order_id = {OPEN_SELL}",
        f"UPDATE orders SET hold = hold - 0.1 WHERE order_id = {OPEN_SELL}",
    ),
    plant(
        "a reserve is another user's",
        r"RESERVE of order .*: user_id is .*, should be",
        f"""UPDATE wallet.ledger_entries SET user_id = CASE user_id WHEN '{ALICE}' THEN '{BOB}'::UUID ELSE '{ALICE}' END
            WHERE line = 11 AND operation_id = {OPEN_BUY}""",
    ),
    plant(
        "a reserve is smaller",
        r"RESERVE of order .*: reserved_delta is [\d.]+, should be [\d.]+",
        f"""UPDATE wallet.ledger_entries SET reserved_delta = reserved_delta - 1, available_delta = available_delta + 1
            WHERE line = 11 AND operation_id = {OPEN_BUY}""",
    ),
    plant(
        "a release never happened",
        r"RELEASE of order .*neither waits nor is in the ledger",
        """DELETE FROM wallet.ledger_entries WHERE entry_id = (
            SELECT min(entry_id) FROM wallet.ledger_entries WHERE line = 12 AND description = 'improvement')""",
    ),
    plant(
        "a release belongs to another order",
        r"reference_id is .*f001, should be",
        f"""UPDATE wallet.ledger_entries SET reference_id = {_FORGED} WHERE entry_id = (
            SELECT min(entry_id) FROM wallet.ledger_entries WHERE line = 12)""",
    ),
    plant(
        "what an amendment reserved is more",
        r"of \d+ for order .*amendment.* is not in the ledger|nothing tells of entry",
        """UPDATE wallet.ledger_entries SET reserved_delta = reserved_delta + 1, available_delta = available_delta - 1
            WHERE entry_id = (
                SELECT min(entry_id) FROM wallet.ledger_entries WHERE line = 11 AND description = 'amendment')""",
    ),
    plant(
        "entries' types exchanged",
        r"entries: operation .*type is",
        f"UPDATE wallet.ledger_entries SET type = 'FEE' WHERE operation_id = {TRADE} AND line = 4",
    ),
    plant(
        "an entry of a line that no movement has",
        r"line 21.*type is RESERVE; no movement has such a line",
        entry("RESERVE", 21, ALICE, "USDT", "-1", "1", _FORGED, _FORGED),
    ),
    plant(
        "the ledger's fence", r"fence: epoch is \d+, should be at most", "UPDATE wallet.fence SET epoch = epoch + 50"
    ),
    plant(
        "an order's reservation is closed before it comes",
        r"reservation is closed, nothing told of it",
        f"""INSERT INTO wallet.reservations (order_id, user_id, asset, remaining, closed, epoch)
            VALUES ({_FORGED}, '{ALICE}', 'USDT', 0, TRUE, 0)""",
    ),
    plant(
        "a deposit is larger",
        r"funding: DEPOSIT .*entry: available_delta is [\d.]+, should be",
        """UPDATE wallet.ledger_entries SET available_delta = available_delta * 2
            WHERE operation_id = (SELECT operation_id FROM wallet.funding WHERE number = 3)""",
    ),
    plant(
        "a deposit is another user's, in the chain as well",
        r"funding: chain, fact 1 .*not the hash of what it holds",
        f"""UPDATE wallet.ledger_entries SET user_id = '{BOB}'
            WHERE line = 13 AND operation_id = (SELECT operation_id FROM wallet.funding WHERE number = 1)""",
        f"UPDATE wallet.funding SET user_id = '{BOB}' WHERE number = 1",
    ),
    plant(
        "a withdrawal never happened",
        r"funding: WITHDRAWAL .*entry: missing",
        f"UPDATE wallet.balances SET available = available + 1000 WHERE user_id = '{CAROL}' AND asset = 'USDT'",
        "DELETE FROM wallet.ledger_entries WHERE type = 'WITHDRAWAL'",
    ),
    plant(
        "the newest deposit is gone from chain and ledger",
        r"funding: chain, head",
        """DELETE FROM wallet.ledger_entries WHERE operation_id = (
            SELECT operation_id FROM wallet.funding ORDER BY number DESC LIMIT 1)""",
        "DELETE FROM wallet.funding WHERE number = (SELECT max(number) FROM wallet.funding)",
    ),
    plant(
        "where a deposit came from",
        r"funding: .*the other side: user_id is",
        f"""UPDATE wallet.ledger_entries SET user_id = '{ALICE}', available_after = 0
            WHERE line = 14 AND operation_id = (SELECT operation_id FROM wallet.funding WHERE number = 2)""",
    ),
    plant(
        "money moved between two of a user's assets",
        rf"balance: user {CAROL}",
        moved(CAROL, "AAA", "1"),
        moved(CAROL, "USDT", "-100"),
    ),
    plant(
        "a trade settled twice as large, seller and buyer alike",
        r"trade .*, line 1: reserved_delta is",
        f"""UPDATE wallet.ledger_entries SET available_delta = available_delta * 2, reserved_delta = reserved_delta * 2
            WHERE operation_id = {TRADE}""",
    ),
    plant(
        "the seller's fee is the buyer's",
        r"trade .*, line 6: available_delta is",
        *line_moved(TRADE, 6, "0.001"),
        f"""UPDATE wallet.ledger_entries SET reserved_delta = reserved_delta - 0.001
            WHERE operation_id = {TRADE} AND line = 5""",
    ),
)
JOURNAL: Final = (
    plant(
        "a batch has no facts any more",
        r"facts: batch .* has none, every batch from \d+ on should",
        f"UPDATE journal SET facts = NULL WHERE last_sequence = {_FACTS}",
    ),
    plant(
        "an order's owner in the facts",
        r"chain: batch .* does not have the hash",
        f"""UPDATE journal SET facts = set_byte(facts, length(facts) - 40, get_byte(facts, length(facts) - 40) # 3)
            WHERE last_sequence = {_FACTS}""",
    ),
    plant(
        "facts begin later",
        r"facts: engine_state: facts_since is \d+, should be 1",
        "UPDATE engine_state SET facts_since = facts_since + 20",
    ),
    plant(
        "a batch in the middle is gone",
        r"chain: batch .* should begin at \d+",
        f"DELETE FROM journal WHERE last_sequence = (SELECT last_sequence FROM journal WHERE last_sequence < {HEAD}"
        " ORDER BY last_sequence DESC LIMIT 1)",
    ),
    plant(
        "a batch is of another time",
        r"chain: batch .*: stamped_at is \d+, should be \d+",
        f"UPDATE journal SET stamped_at = stamped_at + INTERVAL '1 millisecond' WHERE last_sequence = {HEAD}",
    ),
    plant(
        "a batch's events",
        r"chain: batch .* does not have the hash",
        """UPDATE journal SET events = set_byte(events, 33, get_byte(events, 33) # 1)
            WHERE last_sequence = (SELECT min(last_sequence) FROM journal WHERE length(events) > 33)""",
    ),
    plant(
        "the end of the journal is called another",
        r"chain: engine_state: journal_hash is",
        "UPDATE engine_state SET journal_hash = sha256(journal_hash)",
    ),
    plant(
        "the books' state is called another",
        r"chain: engine_state: state_hash is",
        "UPDATE engine_state SET state_hash = set_byte(state_hash, 0, get_byte(state_hash, 0) # 1)",
    ),
    plant(
        "the engine is of an epoch before its last batch",
        r"chain: engine_state: epoch is \d+, should be \d+",
        "UPDATE engine_state SET epoch = 1",
    ),
)
TABLES: Final = (
    plant(
        "fees of a market alone",
        r"markets: market \d+: taker_fee is 0, should be 0.001",
        "UPDATE markets SET taker_fee = 0 WHERE symbol = 'RCV/USDT'",
    ),
    plant(
        "fees of a listed market, in the chain as well",
        r"markets: chain markets: fact \d+ does not have the hash",
        "UPDATE markets SET maker_fee = 0 WHERE symbol = 'NEW/USDT'",
        "UPDATE chained_facts SET fields[11] = '0' WHERE chain = 'markets' AND fields[2] = 'NEW/USDT'",
    ),
    plant(
        "the smallest order of a market",
        r"markets: market \d+: min_quantity is [\d.]+, should be",
        "UPDATE markets SET min_quantity = min_quantity * 10 WHERE symbol = 'AAA/USDT'",
    ),
    plant(
        "the fee asset of a market",
        r"markets: market \d+: fee_asset is QUOTE, should be RECEIVED",
        "UPDATE markets SET fee_asset = 'QUOTE' WHERE symbol = 'RCV/USDT'",
    ),
    plant(
        "a market that nobody listed",
        r"markets: market 77 was never listed",
        """INSERT INTO markets (market_id, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity,
                min_notional, maker_fee, taker_fee, fee_asset)
            VALUES (77, 'EVIL/USDT', 'EVIL', 'USDT', 0.01, 0.01, 0.01, 1000, 0, 0, 0, 'QUOTE')""",
    ),
    plant(
        "how little an iceberg may show",
        r"markets: market \d+: min_display_ppm is 0, should be 50000",
        "UPDATE markets SET min_display_ppm = 0 WHERE symbol = 'AAA/USDT'",
    ),
    plant(
        "stops that wait for their turn",
        r"markets: market AAA/USDT: next_high_ticks is 7, should be 0",
        "UPDATE markets SET next_high_ticks = 7 WHERE symbol = 'AAA/USDT'",
    ),
    plant(
        "a market is halted by hand",
        r"markets: market RCV/USDT: state is HALTED, should be OPEN",
        "UPDATE markets SET state = 'HALTED' WHERE symbol = 'RCV/USDT'",
    ),
    plant(
        "an audit's reason",
        r"audit: row 1: reason is holiday, should be sweep",
        "UPDATE admin_audit SET reason = 'holiday' WHERE audit_id = 1",
    ),
    plant(
        "who did it",
        r"audit: row 2: actor is nobody, should be",
        "UPDATE admin_audit SET actor = 'nobody' WHERE audit_id = 2",
    ),
    plant(
        "a deed that nobody did",
        r"audit: row 9999 is in no chain",
        """INSERT INTO admin_audit (audit_id, actor, action, subject, reason, outcome) OVERRIDING SYSTEM VALUE
            VALUES (9999, 'x', 'market.change', 'AAA/USDT', 'because', 'asked for')""",
    ),
    plant(
        "a deed is gone from audit and chain",
        r"audit: chain audit: after fact 2 comes 4",
        "DELETE FROM admin_audit WHERE audit_id = 3",
        "DELETE FROM chained_facts WHERE chain = 'audit' AND number = 3",
    ),
    plant(
        "the last deed is gone from audit and chain",
        r"audit: chain audit: its head is",
        "DELETE FROM admin_audit WHERE audit_id = (SELECT max(audit_id) FROM admin_audit)",
        """DELETE FROM chained_facts WHERE chain = 'audit' AND number = (
            SELECT max(number) FROM chained_facts WHERE chain = 'audit')""",
    ),
    plant(
        "an iceberg's visible part",
        r"orders: order .*: display_remaining is \d+, should be",
        f"UPDATE orders SET display_remaining = display_remaining - 0.01 WHERE order_id = {OPEN_SELL}",
    ),
    plant(
        "an order's place in its level",
        r"orders: order .*: priority is \d+, should be",
        f"UPDATE orders SET priority_sequence = priority_sequence + 1000 WHERE order_id = {OPEN_BUY}",
    ),
    plant(
        "when an order was placed",
        r"orders: order .*: created_us is \d+, should be",
        f"UPDATE orders SET created_at = created_at - INTERVAL '1 second' WHERE order_id = {CANCELLED}",
    ),
    plant(
        "an order's fee charged",
        r"orders: order .*: fee_charged is \d+, should be",
        "UPDATE orders SET fee_charged = fee_charged + 1 WHERE status = 'FILLED'",
    ),
    plant(
        "an order is gone",
        r"orders: order of command \d+ \(.*\) is missing",
        f"DELETE FROM orders WHERE order_id = {CANCELLED}",
    ),
    plant(
        "the taker of a trade",
        r"trades: trade .*: is_buyer_maker is .*, should be",
        f"UPDATE trades SET is_buyer_maker = NOT is_buyer_maker WHERE trade_id = {TRADE}",
    ),
    plant(
        "the buyer of a trade",
        r"trades: trade .*: buyer_user_id is .*, should be",
        f"UPDATE trades SET buyer_user_id = '{CAROL}', seller_user_id = '{CAROL}' WHERE trade_id = {TRADE}",
    ),
    plant(
        "a trade twice",
        r"trades: trade .* is in no batch of the journal",
        f"CREATE TEMP TABLE forged AS SELECT * FROM trades WHERE trade_id = {TRADE}",
        "UPDATE forged SET trade_id = overlay(trade_id::TEXT PLACING 'fff' FROM 34)::UUID",
        "INSERT INTO trades SELECT * FROM forged",
    ),
    plant(
        "a dead letter is gone",
        r"settlement: trade .*FAILED, no audit says that it was resolved",
        f"DELETE FROM settlement_instructions WHERE instruction_id = {_DEAD}",
    ),
    plant(
        "a dead letter is for another trade",
        r"settlement: instruction \d+: trade_id is .*, should be",
        f"UPDATE settlement_instructions SET trade_id = {TRADE} WHERE instruction_id = {_DEAD}",
    ),
    plant(
        "a trade given up has waited for nobody",
        r"settlement: trade .*PENDING, its instruction is none",
        f"UPDATE trades SET settlement_status = 'PENDING', settlement_reason = NULL WHERE trade_id = {_RESOLVED}",
    ),
    plant(
        "why a trade was given up",
        r"settlement: trade .*no audit says that it was resolved",
        f"UPDATE trades SET settlement_reason = 'RESOLVED: nothing to see' WHERE trade_id = {_RESOLVED}",
    ),
    plant(
        "a settled trade waits again",
        r"settlement: trade .*settled_at is .*, status is PENDING",
        f"UPDATE trades SET settlement_status = 'PENDING' WHERE trade_id = {TRADE}",
    ),
    plant(
        "how often settlement was refused",
        r"settlement: trade .*settlement_attempts is \d+, its instruction has",
        """UPDATE trades SET settlement_attempts = 0
            WHERE settlement_status = 'FAILED' AND settlement_reason NOT LIKE 'RESOLVED%'""",
    ),
    plant("candles are gone", r"candles: last_sequence is 0, should be at least \d+", "DELETE FROM candles"),
    plant(
        "a candle of no trades",
        r"candles: market \d+ 1m at .* is of no trades",
        """INSERT INTO candles SELECT market_id, interval, start_at - INTERVAL '1 year', open, high, low, close, volume,
            quote_volume, trades, last_sequence FROM candles WHERE interval = '1m' ORDER BY start_at LIMIT 1""",
    ),
    plant(
        "a candle's count of trades",
        r"candles: market .*: trades is \d+, should be",
        "UPDATE candles SET trades = trades + 1 WHERE interval = '1d'",
    ),
    plant(
        "a client order id for nobody's order",
        r"client_orders: forged of user .*: order_id is .*, should be none",
        f"INSERT INTO client_orders VALUES ('{ALICE}', 'forged', {_FORGED})",
    ),
    plant(
        "a trader is gone",
        r"traders: trader \d+: user_id is None, should be",
        f"DELETE FROM traders WHERE user_id = '{ALICE}'",
    ),
)
OWN: Final[tuple[Plant, ...]] = (*MONEY, *JOURNAL, *TABLES)
