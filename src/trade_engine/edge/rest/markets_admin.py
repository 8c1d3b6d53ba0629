"""Routes of markets for operators (role admin): list one, change it, halt it.  Every change is audited, with why."""

from typing import Annotated, Any, Final

import msgspec

from trade_engine.domain.enums import FeeAsset, MarketState
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market, MarketError
from trade_engine.domain.scale import ScaleError, parse_units
from trade_engine.edge.bodies import decode
from trade_engine.edge.rest.audited import audited
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.rest.market import MarketView, show_market
from trade_engine.edge.rest.parameters import whole
from trade_engine.edge.shapes import AmountText, FeeAssetWord, ReasonText, StateWord, text

#: Amounts in units of 1e-8, by their names in the body and in ``Market``.
_AMOUNTS: Final = ("tick_size", "lot_size", "min_quantity", "max_quantity", "min_notional", "maker_fee", "taker_fee")
#: Fractions in the body, parts per million in ``Market``.
_FRACTIONS: Final = {
    "price_band": "price_band_ppm",
    "max_slippage": "max_slippage_ppm",
    "min_display_share": "min_display_ppm",
}
_COUNTS: Final = ("max_open_orders", "max_fills")
_COUNT_MAX: Final = 1_000_000
Count = Annotated[int, msgspec.Meta(extra_json_schema=whole(0, _COUNT_MAX))]
NewSymbol = Annotated[str, msgspec.Meta(extra_json_schema=text("[A-Za-z0-9]{1,15}/[A-Za-z0-9]{1,15}", "NEW/USDT"))]
#: A millionth, in units of 1e-8.
_PPM: Final = 100


class ChangeMarketBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The body of PATCH /admin/markets/{symbol}: what is to change, as decimal strings; fees and bands as fractions."""

    reason: ReasonText
    tick_size: AmountText | None = None
    lot_size: AmountText | None = None
    min_quantity: AmountText | None = None
    max_quantity: AmountText | None = None
    min_notional: AmountText | None = None
    price_band: AmountText | None = None
    max_slippage: AmountText | None = None
    max_open_orders: Count | None = None
    max_fills: Count | None = None
    min_display_share: AmountText | None = None
    maker_fee: AmountText | None = None
    taker_fee: AmountText | None = None
    fee_asset: FeeAssetWord | None = None


class ListMarketBody(ChangeMarketBody, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The body of POST /admin/markets: a new market; what is not given is as for configured markets."""

    symbol: NewSymbol
    tick_size: AmountText
    lot_size: AmountText
    max_slippage: AmountText | None = "0.05"
    max_open_orders: Count | None = 1_000
    max_fills: Count | None = 1_000
    min_display_share: AmountText | None = "0.05"


class MarketReason(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/markets/{symbol}/halt and /resume: why."""

    reason: ReasonText


class MarketStateBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/markets/{symbol}/state: what it shall be, and why."""

    state: StateWord
    reason: ReasonText


class AdminMarketView(MarketView):
    """A market with everything that an operator may set."""

    max_fills: int


_list_decoder = msgspec.json.Decoder(ListMarketBody)
_change_decoder = msgspec.json.Decoder(ChangeMarketBody)
_reason_decoder = msgspec.json.Decoder(MarketReason)
_state_decoder = msgspec.json.Decoder(MarketStateBody)


async def admin_markets(call: Call) -> Answer:
    """List the markets with all their settings."""
    return Answer([_show(market) for market in call.services.reader.markets.values()])


async def list_market(call: Call) -> Answer:
    """List a new market.

    It takes orders when this answers.  Audited.
    """
    body = decode(_list_decoder, call.body)
    terms = _terms(body)
    base, _, quote = body.symbol.partition("/")
    if not all(0 < len(asset) <= 15 and asset.isascii() and asset.isalnum() for asset in (base, quote)):
        message = "symbol must be BASE/QUOTE, 1 to 15 letters or digits each"
        raise InvalidRequest("INVALID_SYMBOL", message, field="symbol", provided=body.symbol[:100])
    terms.setdefault("min_quantity", terms["lot_size"])
    base, quote = base.upper(), quote.upper()
    market = _made(lambda: Market(market_id=0, symbol=f"{base}/{quote}", base=base, quote=quote, **terms))
    async with audited(call, "market.list", market.symbol, body.reason):
        return Answer(_show(await call.services.operations.list_market(market)), 201)


async def change_market(call: Call) -> Answer:
    """Change the settings of a market.

    Limits, rules, fees; orders keep the fees that they were accepted with.  Audited.
    """
    body = decode(_change_decoder, call.body)
    market, terms = call.services.markets.named(call.path("symbol")), _terms(body)
    if not terms:
        raise InvalidRequest("MISSING_FIELD", "give at least one field to change", field="body")
    if not {"tick_size", "lot_size"} & terms.keys():
        _made(lambda: msgspec.structs.replace(market, **terms))
    async with audited(call, "market.change", market.symbol, body.reason):
        return Answer(_show(await call.services.operations.change_market(market.symbol, **terms)))


async def halt_market(call: Call) -> Answer:
    """Halt a market.

    It takes no orders and no cancels until it is resumed.  Audited.
    """
    return await _set_state(call, MarketState.HALTED, decode(_reason_decoder, call.body).reason)


async def resume_market(call: Call) -> Answer:
    """Resume a market.

    It takes orders again.  Audited.
    """
    return await _set_state(call, MarketState.OPEN, decode(_reason_decoder, call.body).reason)


async def set_market_state(call: Call) -> Answer:
    """Set the state of a market.

    Audited.
    """
    body = decode(_state_decoder, call.body)
    states = {state.name: state for state in MarketState}
    state = states.get(body.state.upper())
    if state is None:
        message = f"state must be one of {', '.join(states)}"
        raise InvalidRequest("INVALID_STATE", message, field="state", provided=body.state[:100])
    return await _set_state(call, state, body.reason)


async def _set_state(call: Call, state: MarketState, reason: str) -> Answer:
    services, market = call.services, call.services.markets.named(call.path("symbol"))
    async with audited(call, f"market.state.{state.name.lower()}", market.symbol, reason):
        await services.operations.set_market_state(market.symbol, state)
    return Answer(_show(services.reader.markets[market.symbol]))


def _terms(body: ChangeMarketBody) -> dict[str, Any]:
    """What a body sets, by the names of ``Market``.

    Raises:
        InvalidRequest: INVALID_MARKET, naming the field.
    """
    terms: dict[str, Any] = {}
    for field in (*_AMOUNTS, *_FRACTIONS):
        text = getattr(body, field)
        if text is None:
            continue
        try:
            units = parse_units(text)
        except ScaleError as error:
            raise _invalid(field, f"{field} {error}", text) from error
        if field in _FRACTIONS and units % _PPM:
            raise _invalid(field, f"{field} must have at most 6 decimals", text)
        terms[_FRACTIONS.get(field, field)] = units // _PPM if field in _FRACTIONS else units
    for field in _COUNTS:
        number = getattr(body, field)
        if number is not None:
            if not 0 <= number <= _COUNT_MAX:
                raise _invalid(field, f"{field} must be from 0 to {_COUNT_MAX}", str(number))
            terms[field] = number
    if body.fee_asset is not None:
        if body.fee_asset.upper() not in FeeAsset.__members__:
            raise _invalid("fee_asset", "fee_asset must be QUOTE or RECEIVED", body.fee_asset)
        terms["fee_asset"] = FeeAsset[body.fee_asset.upper()]
    return terms


def _made(make: Any) -> Market:
    """A market, or which field of it is wrong."""
    try:
        market: Market = make()
    except MarketError as error:
        # "BTC/USDT: tick_size x lot_size must ...": the first word after the symbol is the field.
        _, _, message = str(error).partition(": ")
        raise _invalid(message.split(maxsplit=1)[0], message, None) from error
    return market


def _invalid(field: str, message: str, provided: str | None) -> InvalidRequest:
    shown = provided[:100] if provided is not None else None
    return InvalidRequest("INVALID_MARKET", message, field=field, provided=shown)


def _show(market: Market) -> AdminMarketView:
    return AdminMarketView(**msgspec.structs.asdict(show_market(market)), max_fills=market.max_fills)
