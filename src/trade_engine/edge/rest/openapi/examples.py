"""An example of each request body, by its type; a test places them against their schemas."""

from typing import Any, Final

_LIMIT: Final = {
    "symbol": "BTC/USDT", "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "50000.00",
    "client_order_id": "a-1",
}  # fmt: skip
_MARKET: Final = {"symbol": "BTC/USDT", "side": "BUY", "type": "MARKET", "quote_amount": "100"}
_STOP: Final = {
    "symbol": "BTC/USDT", "side": "SELL", "type": "STOP_LIMIT", "quantity": "0.01", "price": "48990.00",
    "stop_price": "49000.00",
}  # fmt: skip
_OPERATION: Final = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
_REASON: Final = {"reason": "asked for by the customer"}

#: By the name of the body's type, each with what it shows.
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "PlaceBody": {"limit": _LIMIT, "market": _MARKET, "stop": _STOP},
    "BatchBody": {"two orders": {"orders": [_LIMIT, _MARKET]}},
    "CancelBatchBody": {
        "two orders": {"order_ids": ["018c4b6e-7c00-7000-8000-000000000001", "client:a-1"]},
    },
    "CancelAfterBody": {"a minute": {"timeout_s": 60}, "not any more": {"timeout_s": 0}},
    "PairBody": {
        "take profit or stop loss": {
            "symbol": "BTC/USDT", "side": "SELL", "quantity": "0.01",
            "legs": [
                {"type": "LIMIT", "price": "55000.00"},
                {"type": "STOP_LIMIT", "stop_price": "45000.00", "price": "44900.00"},
            ],
        },
    },
    "AmendBody": {"less": {"quantity": "0.005"}, "another price": {"price": "50100.00"}},
    "ApiKeyBody": {
        "may look": {"name": "reporting"},
        "may trade from one network": {
            "name": "desk", "scopes": ["read", "trade"], "ip_allow_list": ["192.0.2.0/24"],
            "expires_at": "2030-01-01T00:00:00Z",
        },
    },
    "WebhookBody": {
        "everything": {"url": "https://hooks.example.com/events", "name": "archive", "reason": "for compliance"},
        "trades of a market": {
            "url": "https://hooks.example.com/trades", "name": "back office", "event_types": ["trade.executed"],
            "symbols": ["BTC/USDT"], "reason": "go-live of the back office",
        },
    },
    "WebhookReason": {"reason": _REASON},
    "RotateBody": {"rotate": {"reason": "every quarter"}},
    "ReplayBody": {"all": {"reason": "the receiver is mended"}, "one": {"delivery_id": 7, "reason": "only this one"}},
    "FundUserBody": {
        "paid out": {"asset": "USDT", "amount": "30", "operation_id": _OPERATION, "reason": "paid out by wire"},
    },
    "CorrectBody": {
        "less": {"asset": "USDT", "amount": "-0.5", "operation_id": _OPERATION, "reason": "credited twice"},
    },
    "ReasonBody": {"reason": _REASON},
    "ReconcileBody": {"compare": {}, "repair": {"repair": True, "reason": "orphans after the outage"}},
    "ListMarketBody": {
        "a market": {"symbol": "NEW/USDT", "tick_size": "0.01", "lot_size": "0.0001", "reason": "listed by the board"}
    },
    "ChangeMarketBody": {"fees": {"maker_fee": "0.0005", "taker_fee": "0.001", "reason": "new price list"}},
    "ReloadBody": {"reload": {"reason": "new price list"}},
    "MarketReason": {"reason": _REASON},
    "MarketStateBody": {"cancels only": {"state": "CANCEL_ONLY", "reason": "delisting begins"}},
}  # fmt: skip
