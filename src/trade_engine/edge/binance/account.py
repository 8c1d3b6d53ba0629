"""Routes of the caller's account: balances, rates, trades, and how many orders he may still place."""

import time
from collections.abc import Sequence
from typing import Any, Final

from trade_engine.domain.errors import Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.binance.commissions import show_account_commissions
from trade_engine.edge.binance.envelope import ORDERS_S, order_limit
from trade_engine.edge.binance.given import choice, limit_of, market_of, need_market, span, whole
from trade_engine.edge.binance.numbers import fixed
from trade_engine.edge.binance.refusals import combination
from trade_engine.edge.binance.shown import show_own_trade
from trade_engine.edge.binance.trades import locate
from trade_engine.edge.limits import Demand
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.services import Services
from trade_engine.edge.settings import ORDERS
from trade_engine.wallet.port import Balance, WalletUnavailable

#: Pages read for one answer, at most.
_PAGES: Final = 20
#: Rates in 1e-8 by this are basis points.
_BASIS_POINT: Final = 10_000
#: An order's trades are not later than its last change by more.
_AFTER_US: Final = 1_000_000


async def account(call: Call) -> Answer:
    """Look up balances, and what the login may do."""
    omits_zeros = choice(call.query, "omitZeroBalances", ("false", "true")) == "true"
    services, caller = call.services, call.caller
    maker, taker = (
        max((getattr(market, name) for market in services.reader.markets.values()), default=0)
        for name in ("maker_fee", "taker_fee")
    )
    balances = [
        {"asset": row.asset, "free": fixed(row.available), "locked": fixed(row.reserved)}
        for row in await held(services, caller, every=not omits_zeros)
        if not omits_zeros or row.available or row.reserved
    ]
    return Answer(
        {
            "makerCommission": maker // _BASIS_POINT,
            "takerCommission": taker // _BASIS_POINT,
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": {"maker": fixed(maker), "taker": fixed(taker), "buyer": fixed(0), "seller": fixed(0)},
            "canTrade": "trade" in caller.scopes,
            "canWithdraw": False,
            "canDeposit": False,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": time.time_ns() // 1_000_000,
            "accountType": "SPOT",
            "balances": balances,
            "permissions": ["SPOT"],
            # A number that a float holds, of an account that has an id of 128 bits.
            "uid": int(caller.user_id.replace("-", ""), 16) % 2**53,
        }
    )


async def held(services: Services, caller: Principal, *, every: bool) -> list[Balance]:
    """What a user has, by asset; of every asset that is traded, if so asked.

    Raises:
        Unavailable: WALLET_UNAVAILABLE.
    """
    try:
        found = {balance.asset: balance for balance in await services.wallet.balances(caller.user_id)}
    except WalletUnavailable as error:
        raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer") from error
    markets = services.reader.markets.values() if every else ()
    assets = found.keys() | {asset for market in markets for asset in (market.base, market.quote)}
    return [found.get(asset) or Balance(asset, 0, 0) for asset in sorted(assets)]


async def commission(call: Call) -> Answer:
    """Look up what trading in a market costs."""
    return Answer(show_account_commissions(need_market(call.query, call.services.markets)))


async def order_count(call: Call) -> Answer:
    """Look up how many orders of how many were placed lately."""
    limits = call.services.settings.limits
    if not limits.orders.rate_per_s:
        return Answer([])
    [verdict] = await call.services.limits.take([Demand(ORDERS, call.user_id, 0)])
    row: dict[str, Any] = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": ORDERS_S}
    return Answer([row | {"limit": order_limit(limits), "count": verdict.limit - verdict.remaining}])


async def own_trades(call: Call) -> Answer:
    """List the caller's trades in a market, oldest first: the newest, or those of an order, from a number or a time."""
    given, services = call.query, call.services
    market = need_market(given, services.markets)
    limit, number, order_number = limit_of(given, 500, 1_000), whole(given, "fromId"), whole(given, "orderId")
    start_us, end_us = span(given)
    if number is not None and (start_us is not None or end_us is not None):
        raise combination("fromId", "startTime", "endTime")
    order = None
    if order_number is not None:
        order = await services.queries.order_of_number(call.user_id, market.market_id, min(order_number, 2**63 - 1))
        if order is None:
            return Answer([])
        start_us = max(start_us or 0, order.created_us)
        end_us = min(end_us or order.updated_us, order.updated_us) + _AFTER_US
    if number is not None:
        start_us = max(start_us or 0, await locate(services, market, number) or 0) or None
        if start_us is None:
            return Answer([])
    times = (start_us, None if end_us is None else end_us + 1)
    if start_us is None:
        page = await _newest(call, market, times, limit)
        return Answer(await _show(call, market, page))
    found = await _oldest(call, market, times, limit, number or 0, order)
    return Answer(await _show(call, market, found, order))


async def _newest(call: Call, market: Market, times: tuple[int | None, int | None], limit: int) -> list[Trade]:
    found: list[Trade] = []
    before = None
    for _ in range(_PAGES):
        page = await call.services.queries.trades(
            user_id=call.user_id, market_id=market.market_id, end_us=times[1], before=before, limit=limit
        )
        found.extend(page.rows)
        before = page.next_before
        if before is None or len(found) >= limit:
            break
    return found[:limit][::-1]


async def _oldest(
    call: Call, market: Market, times: tuple[int | None, int | None], limit: int, number: int, order: Order | None
) -> list[Trade]:
    found: list[Trade] = []
    after = None
    for _ in range(_PAGES):
        page = await call.services.queries.trades(
            user_id=call.user_id, market_id=market.market_id, start_us=times[0], end_us=times[1], before=after,
            limit=limit, oldest_first=True, from_sequence=number,
        )  # fmt: skip
        found.extend(
            trade
            for trade in page.rows
            if order is None or order.order_id in (trade.buyer_order_id, trade.seller_order_id)
        )
        after = page.next_before
        if after is None or len(found) >= limit:
            break
    return found[:limit]


async def _show(call: Call, market: Market, trades: Sequence[Trade], order: Order | None = None) -> list[Any]:
    """Each trade from the caller's side; from both, if he was both."""
    rows = [
        (trade, is_buyer, order_id)
        for trade in trades
        for is_buyer, user_id, order_id in (
            (True, trade.buyer_user_id, trade.buyer_order_id),
            (False, trade.seller_user_id, trade.seller_order_id),
        )
        if user_id == call.user_id and (order is None or order.order_id == order_id)
    ]
    numbers = await call.services.queries.numbers_of(list({order_id for _, _, order_id in rows}))
    return [show_own_trade(trade, market, numbers[order_id], is_buyer=is_buyer) for trade, is_buyer, order_id in rows]


async def trade_fee(call: Call) -> Answer:
    """List what trading costs, in a market or all."""
    markets, symbol = call.services.markets, call.query.get("symbol")
    asked = call.services.reader.markets.values() if symbol is None else [market_of(markets, symbol)]
    return Answer(
        [
            {
                "symbol": market.base + market.quote,
                "makerCommission": fixed(market.maker_fee),
                "takerCommission": fixed(market.taker_fee),
            }
            for market in asked
        ]
    )


async def coins(call: Call) -> Answer:
    """List the assets that are traded, and what the caller has of each; no network moves any of them."""
    nothing = fixed(0)
    return Answer(
        [
            {
                "coin": row.asset,
                "name": row.asset,
                "depositAllEnable": False,
                "withdrawAllEnable": False,
                "free": fixed(row.available),
                "locked": fixed(row.reserved),
                "freeze": nothing,
                "ipoable": nothing,
                "ipoing": nothing,
                "isLegalMoney": False,
                "storage": nothing,
                "trading": True,
                "withdrawing": nothing,
                "networkList": [],
            }
            for row in await held(call.services, call.caller, every=True)
        ]
    )


async def no_pairs(_: Call) -> Answer:
    """List margin pairs: there are none."""
    return Answer([])
