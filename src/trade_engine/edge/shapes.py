"""The types of JSON fields: what a decimal, a time, an id or a word looks like, for the API's description.

They describe and never check: handlers read text themselves, so that a refusal has a code and names the limit.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final

from msgspec import Meta

from trade_engine.domain.enums import (
    FeeAsset,
    MarketState,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    SettlementStatus,
    Side,
    TimeInForce,
)
from trade_engine.marketdata.intervals import INTERVALS

_UUID: Final = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_ORDER: Final = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
_MOMENT: Final = "2026-01-31T12:00:00.000000Z"


def text(pattern: str | None = None, example: Any = None, **more: Any) -> dict[str, Any]:
    """The JSON schema of a string."""
    schema = {"type": "string", **more}
    if pattern is not None:
        # It only describes: JSON Schema's ``$`` is the very end.
        schema["pattern"] = f"^{pattern}$"
    if example is not None:
        schema["examples"] = [example]
    return schema


def words(names: Iterable[Any], **more: Any) -> dict[str, Any]:
    """The JSON schema of one word of several."""
    return {"type": "string", "enum": [getattr(name, "name", name) for name in names], **more}


AMOUNT: Final = text(r"(0|[1-9][0-9]{0,10})(\.[0-9]{1,8})?", "0.5")
#: From 1990 on, in milliseconds from 1992 on: what is less was meant in seconds.
MOMENT: Final = text(
    r"((199[0-9]|2[0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
    r"|[7-9][0-9]{11}|[1-9][0-9]{12,14})",
    "2026-01-31T12:00:00Z",
)
UUID: Final = text(_UUID, _ORDER, format="uuid")
ORDER_NAME: Final = text(f"({_UUID}|client:[!-~]{{1,100}})", _ORDER)
SYMBOL: Final = text(r"[A-Za-z0-9]{1,15}[-/]?[A-Za-z0-9]{1,15}", "BTC-USDT")
KEY: Final = text("tek_[0-9a-f]{32}", "tek_0123456789abcdef0123456789abcdef")
ENDPOINT: Final = text("whe_[0-9a-f]{32}", "whe_0123456789abcdef0123456789abcdef")
REASON: Final = text(r"[^\u0000]*", "asked for by the customer", minLength=1, maxLength=400)

#: What comes in.
AmountText = Annotated[str, Meta(extra_json_schema=AMOUNT)]
TimeText = Annotated[str, Meta(extra_json_schema=MOMENT)]
SymbolText = Annotated[str, Meta(extra_json_schema=SYMBOL)]
ClientId = Annotated[str, Meta(extra_json_schema=text(None, "a-1", minLength=1, maxLength=100))]
SignedText = Annotated[str, Meta(extra_json_schema=text(r"-?(0|[1-9][0-9]{0,10})(\.[0-9]{1,8})?", "-1.25"))]
AssetText = Annotated[str, Meta(extra_json_schema=text("[A-Za-z0-9]{1,15}", "USDT"))]
IdText = Annotated[str, Meta(extra_json_schema=UUID)]
ReasonText = Annotated[str, Meta(extra_json_schema=REASON)]

#: What goes out.
Amount = Annotated[str, Meta(extra_json_schema=text(r"[0-9]+(\.[0-9]{1,8})?", "0.5"))]
Signed = Annotated[str, Meta(extra_json_schema=text(r"-?[0-9]+(\.[0-9]{1,8})?", "-1.25"))]
Time = Annotated[
    str,
    Meta(
        extra_json_schema=text(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", _MOMENT, format="date-time"
        )
    ),
]
Id = Annotated[str, Meta(extra_json_schema=UUID)]
KeyId = Annotated[str, Meta(extra_json_schema=KEY)]
EndpointId = Annotated[str, Meta(extra_json_schema=ENDPOINT)]
Symbol = Annotated[str, Meta(extra_json_schema=text("[A-Z0-9]{1,15}/[A-Z0-9]{1,15}", "BTC/USDT"))]
Asset = Annotated[str, Meta(extra_json_schema=text("[A-Z0-9]{1,15}", "USDT"))]

#: Words, both ways; what comes in may be in any case.
SideWord = Annotated[str, Meta(extra_json_schema=words(Side))]
TypeWord = Annotated[str, Meta(extra_json_schema=words(OrderType))]
TimeInForceWord = Annotated[str, Meta(extra_json_schema=words(TimeInForce))]
PreventionWord = Annotated[str, Meta(extra_json_schema=words(SelfTradePrevention))]
StatusWord = Annotated[str, Meta(extra_json_schema=words(OrderStatus))]
SettlementWord = Annotated[str, Meta(extra_json_schema=words(SettlementStatus))]
StateWord = Annotated[str, Meta(extra_json_schema=words(MarketState))]
FeeAssetWord = Annotated[str, Meta(extra_json_schema=words(FeeAsset))]
IntervalWord = Annotated[str, Meta(extra_json_schema=words(INTERVALS))]
