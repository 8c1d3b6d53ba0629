"""What the ledger's entries say of each other: every balance's chain of after-values, and the shape of each movement.

SQL over schema ``wallet`` and nothing else; each check answers rows of ``port.Difference``.
"""

from typing import Final

from trade_engine.domain.compared import CLOCKS_APART
from trade_engine.wallet.ledger import FEE_ACCOUNTS

_LIMIT: Final = 100
_FEES: Final = ", ".join(f"'{account}'" for account in FEE_ACCOUNTS)

#: In the order in which they were written, each entry's balance follows from the one before and what it moved; and
#: nothing is dated long before what came before it, before its operation's id was made, or in the future.
_ORDER: Final = f"""
    SELECT CASE WHEN misdated THEN 'dates' ELSE 'after values' END, 'user ' || user_id || ', entry ' || entry_id, asset,
        CASE WHEN misdated THEN 'entry: created_at is ' || created_at
            ELSE 'entry: available_after is ' || trim_scale(available_after) || ', reserved_after is '
                || trim_scale(reserved_after) END,
        CASE WHEN misdated THEN 'should not be before ' || greatest(made_at, latest) || ' nor after ' || now()
            ELSE 'should be ' || trim_scale(a + available_delta) || ' and ' || trim_scale(r + reserved_delta) END
    FROM (
        SELECT *, created_at < latest - {CLOCKS_APART} OR created_at < made_at - {CLOCKS_APART}
            OR created_at > now() + {CLOCKS_APART} AS misdated
        FROM (
            SELECT entry_id, user_id, asset, created_at, available_delta, reserved_delta, available_after,
                reserved_after, lag(available_after, 1, 0) OVER w AS a, lag(reserved_after, 1, 0) OVER w AS r,
                max(created_at) OVER w AS latest,
                CASE WHEN line <= 12 AND substr(operation_id::TEXT, 15, 1) = '7'
                    THEN TIMESTAMPTZ '1970-01-01 00:00:00+00' + INTERVAL '1 millisecond'
                    * ('x' || left(replace(operation_id::TEXT, '-', ''), 12))::BIT(48)::BIGINT END AS made_at
            FROM wallet.ledger_entries WINDOW w AS (PARTITION BY user_id, asset ORDER BY entry_id)
        ) e
    ) e
    WHERE misdated OR available_after <> a + available_delta OR reserved_after <> r + reserved_delta
    ORDER BY entry_id LIMIT {_LIMIT}"""
#: A trade has its lines, of two users and the exchange, in pairs of the same amount; every other line is known.
_SHAPES: Final = f"""
    SELECT 'entries', 'operation ' || operation_id, '', wrong, 'double entry of a trade'
    FROM (
        SELECT operation_id, concat_ws('; ',
            CASE WHEN count(*) FILTER (WHERE line <= 4) <> 4 THEN 'lines 1 to 4 are not all there' END,
            CASE WHEN count(DISTINCT user_id) FILTER (WHERE line IN (1, 2, 5)) > 1
                THEN 'lines 1, 2 and 5 are not of one buyer' END,
            CASE WHEN count(DISTINCT user_id) FILTER (WHERE line IN (3, 4, 6)) > 1
                THEN 'lines 3, 4 and 6 are not of one seller' END,
            CASE WHEN sum(available_delta + reserved_delta) FILTER (WHERE line IN (1, 4)) <> 0
                THEN 'line 1 pays other than line 4 receives' END,
            CASE WHEN sum(available_delta + reserved_delta) FILTER (WHERE line IN (2, 3)) <> 0
                THEN 'line 3 gives other than line 2 receives' END,
            CASE WHEN coalesce(sum(available_delta + reserved_delta) FILTER (WHERE line >= 5), 0) <> 0
                AND count(DISTINCT asset) FILTER (WHERE line >= 5) = 1 THEN 'fees paid are not fees received' END,
            CASE WHEN bool_or(line >= 7 AND user_id NOT IN ({_FEES}))
                THEN 'lines 7 and 8 are not of a fee account' END) AS wrong
        FROM wallet.ledger_entries WHERE line <= 8 GROUP BY operation_id
    ) t WHERE wrong <> ''
    UNION ALL
    SELECT 'entries', 'operation ' || operation_id || ', line ' || line, asset, 'type is ' || type,
        'no movement has such a line'
    FROM wallet.ledger_entries
    WHERE CASE
        WHEN line IN (1, 2) THEN type <> 'TRADE_BUY' WHEN line IN (3, 4) THEN type <> 'TRADE_SELL'
        WHEN line BETWEEN 5 AND 8 THEN type <> 'FEE' WHEN line = 11 THEN type <> 'RESERVE'
        WHEN line = 12 THEN type <> 'RELEASE' WHEN line IN (13, 14) THEN type <> 'DEPOSIT'
        WHEN line IN (15, 16) THEN type <> 'WITHDRAWAL' ELSE TRUE END
    UNION ALL
    SELECT 'entries', 'operation ' || operation_id || ', line ' || line, asset,
        'available_delta is ' || trim_scale(available_delta), 'reserved_delta is ' || trim_scale(reserved_delta)
    FROM wallet.ledger_entries WHERE line IN (11, 12)
        AND (available_delta + reserved_delta <> 0 OR (line = 11) <> (reserved_delta > 0))
    LIMIT {_LIMIT}"""
#: A reservation is of an epoch that there was.
_EPOCHS: Final = f"""
    SELECT 'reservations', 'order ' || order_id || ' of user ' || user_id, asset, 'epoch is ' || epoch,
        'fence: epoch is ' || (SELECT epoch FROM wallet.fence)
    FROM wallet.reservations WHERE epoch > (SELECT epoch FROM wallet.fence) LIMIT {_LIMIT}"""
EVERY: Final = (_ORDER, _SHAPES, _EPOCHS)
