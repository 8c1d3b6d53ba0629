// How an order takes: price-time priority at the maker's price, until it is filled or something stops it.
// The twin of matching/taker.py.
#include <algorithm>
#include <limits>

#include "book.hpp"

namespace trade_engine {

namespace {

// How many of `quantity` lots a taker wants and may pay at `price`.
i64 affordable(const Order* taker, i64 price, i64 quantity) {
    if (!(taker->flags & QUOTE_AMOUNT)) quantity = std::min(quantity, taker->leaves);
    if (taker->flags & LIMITED_NOTIONAL)
        quantity = std::min(quantity, (taker->max_notional - taker->spent_notional) / price);
    return quantity;
}

}  // namespace

bool Book::would_take(u8 side, i64 price) const {
    const Level* best = ladders_[1 - side].best();
    return best != nullptr && best->key <= (side == BUY ? price : -price);
}

i64 Book::limit_key(const Order* taker) const {
    if (!taker->enters_as_market()) return taker->side == BUY ? taker->price : -taker->price;
    const Level* best = ladders_[1 - taker->side].best();
    constexpr i64 any_price = std::numeric_limits<i64>::max();
    if (max_slippage_ppm_ == 0 || best == nullptr) return any_price;
    const i128 worst = best->key + static_cast<i128>(best->price) * max_slippage_ppm_ / PPM;
    return static_cast<i64>(std::min<i128>(worst, any_price));
}

void Book::take(Order* taker) {
    trade_high_ = trade_low_ = 0;
    if ((rules_ & CASCADE_BUDGET) == 0) met_ = 0;
    const i64 worst = limit_key(taker);
    if (taker->time_in_force == FOK && foresee(taker, worst) != Outlook::WHOLE) {
        cancel_rest(taker, Reason::FOK_REMAINDER);
        return;
    }
    const Reason reason = match(taker, worst);
    if (reason != Reason::NONE) {
        cancel_rest(taker, reason);
    } else if (left_of(taker) == 0) {
        pool_.release(taker);
    } else if (taker->enters_as_market()) {
        const bool more = ladders_[1 - taker->side].best() != nullptr;
        cancel_rest(taker, more               ? Reason::MAX_SLIPPAGE_REACHED
                           : trade_high_ != 0 ? Reason::MARKET_REMAINDER
                                              : Reason::NO_LIQUIDITY);
    } else if (taker->time_in_force == IOC) {
        cancel_rest(taker, Reason::IOC_REMAINDER);
    } else if (taker->flags & LIMITED_NOTIONAL &&
               static_cast<i128>(taker->price) * taker->leaves > taker->max_notional - taker->spent_notional) {
        cancel_rest(taker, Reason::MAX_NOTIONAL_REACHED);
    } else {
        rest(taker);
    }
}

void Book::cancel_rest(Order* taker, Reason reason) {
    Event& event = emit(EventKind::CANCELLED, taker->order_number);
    event.reason = static_cast<u8>(reason);
    event.side = taker->side;
    event.price = taker->price;
    event.quantity = taker->leaves;
    cancel_linked(taker);
    pool_.release(taker);
}

Reason Book::match(Order* taker, i64 worst) {
    Ladder& ladder = ladders_[1 - taker->side];
    while (left_of(taker) != 0) {
        Level* level = ladder.best();
        if (level == nullptr || level->key > worst) return Reason::NONE;
        if (max_fills_ != 0 && met_ == max_fills_) return Reason::MAX_FILLS_REACHED;
        Order* maker = level->head;
        const i64 quantity = affordable(taker, level->price, maker->display_remaining);
        if (quantity == 0) return Reason::MAX_NOTIONAL_REACHED;
        ++met_;
        if (maker->user == taker->user && taker->stp != ALLOWED) {
            if (prevent_self_trade(taker, maker)) return Reason::SELF_TRADE;
        } else {
            fill(taker, maker, level, quantity);
        }
    }
    return Reason::NONE;
}

void Book::fill(Order* taker, Order* maker, Level* level, i64 quantity) {
    const i64 price = level->price;
    if (taker->flags & LIMITED_NOTIONAL) taker->spent_notional += price * quantity;
    if (!(taker->flags & QUOTE_AMOUNT)) taker->leaves -= quantity;
    if (maker->flags & LIMITED_NOTIONAL) maker->spent_notional += price * quantity;
    maker->leaves -= quantity;
    maker->display_remaining -= quantity;
    level->visible -= quantity;
    level->total -= quantity;
    last_price_ = price;
    trade_high_ = std::max(trade_high_, price);
    trade_low_ = trade_low_ == 0 ? price : std::min(trade_low_, price);
    Event& event = emit(EventKind::TRADE, taker->order_number);
    event.side = taker->side;
    event.other_number = maker->order_number;
    event.price = price;
    event.quantity = quantity;
    event.leaves = left_of(taker);
    event.other_leaves = maker->leaves;
    if (maker->leaves == 0) {
        detach(maker);
        cancel_linked(maker);
        pool_.release(maker);
    } else {
        touch(maker);
        if (maker->display_remaining == 0) refill(maker, level);
        cancel_linked(maker);
    }
    cancel_linked(taker);
}

void Book::refill(Order* maker, Level* level) {
    level->unlink(maker);
    maker->display_remaining = std::min(maker->display, maker->leaves);
    maker->priority = ++priority_;
    level->append(maker);
    Event& event = emit(EventKind::REFILLED, maker->order_number);
    event.side = maker->side;
    event.price = maker->price;
    event.quantity = maker->display_remaining;
    event.leaves = maker->leaves;
    event.priority = maker->priority;
}

bool Book::prevent_self_trade(Order* taker, Order* maker) {
    if (taker->stp == CANCEL_NEWEST) return true;
    if (taker->stp != DECREMENT) {
        end(maker, EventKind::CANCELLED, Reason::SELF_TRADE);
        return taker->stp == CANCEL_BOTH;
    }
    const i64 price = maker->price;
    const i64 lots = taker->flags & QUOTE_AMOUNT ? affordable(taker, price, maker->leaves)
                                                 : std::min(taker->leaves, maker->leaves);
    if (lots == maker->leaves)
        end(maker, EventKind::CANCELLED, Reason::SELF_TRADE);
    else
        reduce(maker, lots, Reason::SELF_TRADE);
    return decrement(taker, price, lots);
}

bool Book::decrement(Order* taker, i64 price, i64 lots) {
    if (taker->flags & QUOTE_AMOUNT) {
        taker->max_notional -= price * lots;
        if (left_of(taker) == 0) return true;
    } else if (lots == taker->leaves) {
        return true;
    } else {
        taker->quantity -= lots;
        taker->leaves -= lots;
    }
    Event& event = emit(EventKind::REDUCED, taker->order_number);
    event.reason = static_cast<u8>(Reason::SELF_TRADE);
    event.side = taker->side;
    event.price = taker->price;
    event.quantity = lots;
    event.leaves = left_of(taker);
    return false;
}

// With what is left of the command's fills.  Plays the orders of each level in the order in which they would be met, refills of icebergs included, without the
// legs that a fill of the other leg would have cancelled by then.
Book::Outlook Book::foresee(const Order* taker, i64 worst) const {
    struct Refill {
        i64 shown, leaves, display;
    };
    i64 wanted = taker->leaves, met = met_;
    i128 budget = taker->flags & LIMITED_NOTIONAL ? taker->max_notional - taker->spent_notional
                                                  : static_cast<i128>(1) << 100;
    std::vector<Refill> refills;
    std::vector<i64> gone;
    // One order met: 0 go on, 1 whole, -1 not fillable.
    const auto meet = [&](i64 price, i64 shown, i64 leaves, i64 display) {
        const i64 lots = std::min(wanted, shown);
        budget -= static_cast<i128>(lots) * price;
        if (budget < 0) return -1;
        wanted -= lots;
        if (wanted == 0) return 1;
        if (leaves > shown) refills.push_back({std::min(display, leaves - shown), leaves - shown, display});
        return 0;
    };
    for (const auto& [key, level] : ladders_[1 - taker->side].levels()) {
        if (key > worst) return Outlook::SHORT;
        refills.clear();
        for (const Order* maker = level.head; maker != nullptr; maker = maker->next) {
            if (!gone.empty() && std::find(gone.begin(), gone.end(), maker->order_number) != gone.end()) continue;
            if (max_fills_ != 0 && met++ == max_fills_) return Outlook::TOO_LONG;
            if (maker->linked_number != 0) gone.push_back(maker->linked_number);
            if (maker->user == taker->user && taker->stp != ALLOWED) {
                if (taker->stp == CANCEL_OLDEST) continue;
                if (taker->stp != DECREMENT || taker->time_in_force == FOK || maker->leaves >= wanted)
                    return Outlook::SHORT;
                wanted -= maker->leaves;
                continue;
            }
            const int outcome = meet(level.price, maker->display_remaining, maker->leaves, maker->display);
            if (outcome != 0) return outcome > 0 ? Outlook::WHOLE : Outlook::SHORT;
        }
        for (u64 i = 0; i < refills.size(); ++i) {
            if (max_fills_ != 0 && met++ == max_fills_) return Outlook::TOO_LONG;
            const Refill next = refills[i];
            const int outcome = meet(level.price, next.shown, next.leaves, next.display);
            if (outcome != 0) return outcome > 0 ? Outlook::WHOLE : Outlook::SHORT;
        }
    }
    return Outlook::SHORT;
}

}  // namespace trade_engine
