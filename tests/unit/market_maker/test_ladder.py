"""What a market maker quotes."""

import random

import pytest

from tests.harness.seeds import seed
from trade_engine.domain.enums import Side
from trade_engine.market_maker.ladder import Free, LadderTerms, Quote, changes, ladder

TERMS = LadderTerms(half_spread=10, gap=5, levels=3, lots=4, inventory_limit=20)
BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("fair", "inventory", "bids", "asks"),
    [
        (1000, 0, [990, 985, 980], [1010, 1015, 1020]),
        # Within a gap nothing moves.
        (1002, 0, [990, 985, 980], [1015, 1020, 1025]),
        (1004, 0, [990, 985, 980], [1015, 1020, 1025]),
        # Who has bought bids less and asks less, and buys no more at the limit.
        (1000, 20, [], [1000, 1005, 1010]),
        (1000, -20, [1000, 995, 990], []),
        # No bid at zero or below.
        (12, 0, [], [25, 30, 35]),
    ],
)
def test_a_ladder(fair: int, inventory: int, bids: list[int], asks: list[int]) -> None:
    quotes = ladder(fair, inventory, TERMS)
    assert [quote.price for quote in quotes if quote.side is BUY] == bids
    assert [quote.price for quote in quotes if quote.side is SELL] == asks


def test_prices_are_left_free() -> None:
    quotes = ladder(1000, 0, TERMS, Free(971, 1033))
    assert [quote.price for quote in quotes] == [970, 965, 960, 1035, 1040, 1045]
    assert ladder(900, 0, TERMS, Free(971, 1033))[3].price == 1035


def test_a_side_ends_at_the_limit_and_takes_no_order_that_is_too_small() -> None:
    assert [quote.lots for quote in ladder(1000, 14, TERMS) if quote.side is BUY] == [4, 2]
    assert [quote.lots for quote in ladder(1000, 14, TERMS, least_lots=3) if quote.side is BUY] == [4]


def test_whatever_comes_it_is_not_crossed_and_within_the_limit() -> None:
    rng = random.Random(seed(29))
    for _ in range(3_000):
        terms = LadderTerms(*(rng.randint(1, most) for most in (50, 40, 10, 30, 300)))
        inventory = rng.randint(-terms.inventory_limit, terms.inventory_limit)
        quotes = ladder(rng.randint(1, 5_000), inventory, terms)
        bids = [quote for quote in quotes if quote.side is BUY]
        asks = [quote for quote in quotes if quote.side is SELL]
        if bids and asks:
            assert bids[0].price < asks[0].price
        assert all(quote.price > 0 and quote.price % terms.gap == 0 for quote in quotes)
        assert inventory + sum(quote.lots for quote in bids) <= terms.inventory_limit
        assert inventory - sum(quote.lots for quote in asks) >= -terms.inventory_limit


def test_what_rests_at_a_wanted_price_stays() -> None:
    live = {"a": Quote(BUY, 990, 4), "b": Quote(BUY, 995, 4), "c": Quote(SELL, 1010, 1)}
    stale, missing = changes(live, [Quote(BUY, 990, 4), Quote(BUY, 985, 4), Quote(SELL, 1010, 4)])
    assert (stale, missing) == (["b"], [Quote(BUY, 985, 4)])


def test_of_two_at_one_price_one_goes() -> None:
    live = {"a": Quote(BUY, 990, 4), "b": Quote(BUY, 990, 4)}
    assert changes(live, [Quote(BUY, 990, 4)]) == (["b"], [])


def test_what_is_more_than_wanted_is_placed_anew() -> None:
    assert changes({"a": Quote(BUY, 990, 4)}, [Quote(BUY, 990, 2)]) == (["a"], [Quote(BUY, 990, 2)])
