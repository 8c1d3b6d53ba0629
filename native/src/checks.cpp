// What is refused, and why: the twin of matching/checks.py, check by check and in the same order.
#include "book.hpp"

namespace trade_engine {

namespace {

constexpr u8 ALL_FLAGS = POST_ONLY | LIMITED_NOTIONAL | QUOTE_AMOUNT | REVERSED;

bool has_limit(u8 type) { return type == LIMIT || type == STOP_LIMIT; }
bool has_stop(u8 type) { return type == STOP || type == STOP_LIMIT; }
bool at_once(u8 time_in_force) { return time_in_force == IOC || time_in_force == FOK; }
bool in_range(i64 value) { return 0 < value && value <= MAX_VALUE; }
i128 wide(i64 value) { return value; }

Reason check_flags(const Command& c) {
    const bool limited = c.flags & LIMITED_NOTIONAL;
    if ((c.flags & ~ALL_FLAGS) != 0) return Reason::INVALID_FLAGS;
    if ((c.flags & POST_ONLY) && (!has_limit(c.type) || at_once(c.time_in_force))) return Reason::INVALID_FLAGS;
    if (limited && c.side != BUY) return Reason::INVALID_FLAGS;
    if ((c.flags & REVERSED) && !has_stop(c.type)) return Reason::INVALID_FLAGS;
    if ((c.flags & QUOTE_AMOUNT) && (!limited || c.type != MARKET || c.time_in_force == FOK))
        return Reason::INVALID_FLAGS;
    return Reason::NONE;
}

}  // namespace

Reason Book::check_state(const Command& c) const {
    const auto kind = static_cast<CommandKind>(c.kind);
    const bool entering = kind == CommandKind::PLACE || kind == CommandKind::AMEND || kind == CommandKind::TRIGGER;
    const bool leaving = kind == CommandKind::CANCEL || kind == CommandKind::REDUCE || kind == CommandKind::CANCEL_ALL;
    if (state_ == OPEN || (!entering && !leaving)) return Reason::NONE;
    if (leaving && (state_ == CANCEL_ONLY || c.reason == static_cast<u8>(Reason::ADMIN_REQUEST))) return Reason::NONE;
    if (state_ == HALTED) return Reason::MARKET_HALTED;
    return state_ == CANCEL_ONLY ? Reason::MARKET_CANCEL_ONLY : Reason::MARKET_CLOSED;
}

Reason Book::check_leaving(const Command& c) const {
    const auto kind = static_cast<CommandKind>(c.kind);
    const bool known = c.reason >= static_cast<u8>(Reason::USER_REQUEST) && c.reason <= static_cast<u8>(LAST_REASON);
    if (c.reason != 0 && !known) return Reason::INVALID_COMMAND;
    if (kind == CommandKind::REDUCE && c.quantity <= 0) return Reason::INVALID_QUANTITY;
    if (kind == CommandKind::CANCEL_ALL && (c.quantity < 0 || c.user < 0)) return Reason::INVALID_COMMAND;
    return Reason::NONE;
}

Reason Book::check_place(const Command& c) {
    Reason reason = check_shape(c);
    if (reason == Reason::NONE) reason = check_numbers(c);
    if (reason == Reason::NONE) reason = check_link(c);
    if (reason == Reason::NONE) reason = check_rules(c);
    return reason;
}

Reason Book::check_shape(const Command& c) {
    if (c.order_number <= 0 || c.user <= 0 || c.side > SELL || c.type > STOP_LIMIT || c.time_in_force > GTD ||
        c.stp > ALLOWED)
        return Reason::INVALID_COMMAND;
    if (find(c.order_number) != nullptr) return Reason::DUPLICATE_ORDER_ID;
    return c.flags == 0 ? Reason::NONE : check_flags(c);
}

Reason Book::check_numbers(const Command& c) const {
    if (c.flags & QUOTE_AMOUNT ? c.quantity != 0 : !in_range(c.quantity)) return Reason::INVALID_QUANTITY;
    if (has_limit(c.type) ? !in_range(c.price) : c.price != 0) return Reason::INVALID_PRICE;
    if (has_stop(c.type) ? !in_range(c.stop_price) : c.stop_price != 0) return Reason::INVALID_STOP_PRICE;
    if (wide(c.price) * c.quantity > MAX_VALUE || wide(c.stop_price) * c.quantity > MAX_VALUE)
        return Reason::NOTIONAL_OVERFLOW;
    if ((c.flags & LIMITED_NOTIONAL) && (c.max_notional < 0 || c.max_notional > MAX_VALUE))
        return Reason::NOTIONAL_OVERFLOW;
    if (c.display != 0 &&
        (c.display < 0 || c.display > c.quantity || !has_limit(c.type) || at_once(c.time_in_force)))
        return Reason::INVALID_DISPLAY_QUANTITY;
    const bool needs_expiry = c.time_in_force == DAY || c.time_in_force == GTD;
    if ((needs_expiry || c.expires_us != 0) && (c.expires_us <= c.time_us || !in_range(c.expires_us)))
        return Reason::INVALID_EXPIRY;
    return Reason::NONE;
}

Reason Book::check_link(const Command& c) {
    if (c.linked_number == 0) return Reason::NONE;
    const Order* other = find(c.linked_number);
    if (other == nullptr || other->linked_number != 0 || other->user != c.user || other->side != c.side ||
        other->leaves != other->quantity || !may_rest(c.type, c.time_in_force))
        return Reason::INVALID_LINK;
    return Reason::NONE;
}

Reason Book::check_rules(const Command& c) {
    if (c.price != 0 && outside_band(c.price)) return Reason::PRICE_BAND;
    if (min_notional_ != 0 && notional(c) < min_notional_) return Reason::MIN_NOTIONAL;
    if (max_open_orders_ != 0 && may_rest(c.type, c.time_in_force)) {
        const i64* open = user_orders_.find(c.user);
        if (open != nullptr && *open >= max_open_orders_) return Reason::MAX_OPEN_ORDERS;
    }
    if ((c.flags & POST_ONLY) && c.type == LIMIT && would_take(c.side, c.price)) return Reason::POST_ONLY_WOULD_TAKE;
    return reached_high_ != 0 ? Reason::TRIGGERS_WAITING : Reason::NONE;
}

bool Book::outside_band(i64 price) const {
    if (price_band_ppm_ == 0 || last_price_ == 0) return false;
    const i128 distance = price > last_price_ ? wide(price) - last_price_ : wide(last_price_) - price;
    return distance * PPM > wide(price_band_ppm_) * last_price_;
}

i128 Book::notional(const Command& c) const {
    if (c.flags & QUOTE_AMOUNT) return c.max_notional;
    if (c.type == MARKET) {
        const Level* best = ladders_[1 - c.side].best();
        const i64 price = best != nullptr ? best->price : last_price_;
        return price != 0 ? wide(price) * c.quantity : wide(min_notional_);
    }
    return wide(c.price != 0 ? c.price : c.stop_price) * c.quantity;
}

Reason Book::check_amend(const Order* order, const Command& c) const {
    const bool limited = c.flags & LIMITED_NOTIONAL;
    const i64 filled = order->quantity - order->leaves;
    if ((c.flags & ~LIMITED_NOTIONAL) != 0 || (limited && order->side != BUY)) return Reason::INVALID_FLAGS;
    if (limited && !(order->flags & LIMITED_NOTIONAL) && filled != 0) return Reason::INVALID_FLAGS;
    const i64 price = c.price != 0 ? c.price : order->price;
    const i64 quantity = c.quantity != 0 ? c.quantity : order->quantity;
    const i64 stop_price = c.stop_price != 0 ? c.stop_price : order->stop_price;
    if (quantity <= filled || quantity > MAX_VALUE) return Reason::INVALID_QUANTITY;
    if (c.price != 0 && (!has_limit(order->type) || !in_range(price))) return Reason::INVALID_PRICE;
    if (c.stop_price != 0 && (!order->waiting || !in_range(stop_price))) return Reason::INVALID_STOP_PRICE;
    if (wide(price) * quantity > MAX_VALUE || wide(stop_price) * quantity > MAX_VALUE)
        return Reason::NOTIONAL_OVERFLOW;
    const i64 max_notional = limited ? c.max_notional : order->max_notional;
    if (limited && (max_notional < order->spent_notional || max_notional > MAX_VALUE))
        return Reason::NOTIONAL_OVERFLOW;
    const u8 flags = order->flags | (limited ? LIMITED_NOTIONAL : 0);
    if (price == order->price && quantity == order->quantity && stop_price == order->stop_price &&
        flags == order->flags && max_notional == order->max_notional)
        return Reason::NO_CHANGE;
    const i64 leaves = quantity - filled;
    if (!order->waiting && (flags & LIMITED_NOTIONAL) && wide(price) * leaves > max_notional - order->spent_notional)
        return Reason::NOTIONAL_OVERFLOW;
    return check_amended_rules(order, price, quantity, stop_price);
}

Reason Book::check_amended_rules(const Order* order, i64 price, i64 quantity, i64 stop_price) const {
    if (price != order->price && outside_band(price)) return Reason::PRICE_BAND;
    if (wide(price != 0 ? price : stop_price) * quantity < min_notional_) return Reason::MIN_NOTIONAL;
    const bool post_only = (order->flags & POST_ONLY) && !order->waiting;
    if (post_only && price != order->price && would_take(order->side, price)) return Reason::POST_ONLY_WOULD_TAKE;
    const bool enters = !order->waiting && (price != order->price || quantity > order->quantity);
    return enters && reached_high_ != 0 ? Reason::TRIGGERS_WAITING : Reason::NONE;
}

}  // namespace trade_engine
