// The commands of a book, one function each, and the questions it answers: the twin of matching/reference.py.
#include "book.hpp"

#include <algorithm>
#include <new>

namespace trade_engine {

void Book::run(const Command& c) {
    sequence_ = c.sequence;
    met_ = started_ = 0;
    const bool known = c.kind >= static_cast<u8>(CommandKind::PLACE) && c.kind <= static_cast<u8>(CommandKind::TRIGGER);
    if (c.market_id != market_id_ || !known) return reject(c.order_number, Reason::INVALID_COMMAND);
    const auto kind = static_cast<CommandKind>(c.kind);
    if (kind == CommandKind::TICK) return tick(c);
    if (!due_.empty()) expire(c.time_us, 0);
    const Reason refusal = check_state(c);
    if (refusal != Reason::NONE) return reject(c.order_number, refusal);
    switch (kind) {
        case CommandKind::PLACE: return place(c);
        case CommandKind::CANCEL: return cancel(c);
        case CommandKind::REDUCE: return reduce_order(c);
        case CommandKind::AMEND: return amend(c);
        case CommandKind::CANCEL_ALL: return cancel_all(c);
        case CommandKind::SET_STATE: return set_state(c);
        case CommandKind::CONFIGURE: return configure(c);
        case CommandKind::TRIGGER: return trigger_waiting();
        case CommandKind::TICK: return;
    }
}

void Book::place(const Command& c) {
    const Reason refusal = check_place(c);
    if (refusal != Reason::NONE) return reject(c.order_number, refusal);
    try {
        pool_.reserve_one();
        dirty_.reserve(pool_.capacity());
        orders_.reserve_one();
    } catch (const std::bad_alloc&) {
        return reject(c.order_number, Reason::OUT_OF_MEMORY);
    }
    Order* order = pool_.acquire();
    order->order_number = c.order_number;
    order->user = c.user;
    order->leaves = order->quantity = c.quantity;
    order->display_remaining = 0;
    order->level = nullptr;
    order->side = c.side;
    order->type = c.type;
    order->time_in_force = c.time_in_force;
    order->stp = c.stp;
    order->flags = c.flags;
    order->waiting = 0;
    order->price = c.price;
    order->stop_price = c.stop_price;
    order->display = c.display;
    order->max_notional = c.flags & LIMITED_NOTIONAL ? c.max_notional : 0;
    order->spent_notional = 0;
    order->expires_us = c.expires_us;
    order->linked_number = c.linked_number;
    order->priority = 0;
    Event& event = emit(EventKind::ACCEPTED, c.order_number);
    event.side = c.side;
    event.price = c.price;
    event.quantity = event.leaves = c.quantity;
    event.other_number = c.user;
    if (c.linked_number != 0) {
        Order* first_leg = find(c.linked_number);
        first_leg->linked_number = c.order_number;
        touch(first_leg);
    }
    enter(order);
}

void Book::enter(Order* order) {
    if (!order->is_stop())
        take(order);
    else if (reached_high_ == 0 && stop_reached(order))
        trigger(order);
    else
        return wait(order);
    if (trade_high_ != 0) cascade();
}

void Book::cancel(const Command& c) {
    const Reason refusal = check_leaving(c);
    if (refusal != Reason::NONE) return reject(c.order_number, refusal);
    Order* order = find(c.order_number);
    if (order == nullptr) return reject(c.order_number, Reason::UNKNOWN_ORDER);
    end(order, EventKind::CANCELLED, c.reason != 0 ? static_cast<Reason>(c.reason) : Reason::USER_REQUEST);
}

void Book::reduce_order(const Command& c) {
    const Reason refusal = check_leaving(c);
    if (refusal != Reason::NONE) return reject(c.order_number, refusal);
    Order* order = find(c.order_number);
    if (order == nullptr) return reject(c.order_number, Reason::UNKNOWN_ORDER);
    const Reason reason = c.reason != 0 ? static_cast<Reason>(c.reason) : Reason::USER_REQUEST;
    if (c.quantity >= order->leaves)
        end(order, EventKind::CANCELLED, reason);
    else
        reduce(order, c.quantity, reason);
}

void Book::amend(const Command& c) {
    Order* order = find(c.order_number);
    const Reason refusal = order == nullptr ? Reason::UNKNOWN_ORDER : check_amend(order, c);
    if (refusal != Reason::NONE) return reject(c.order_number, refusal);
    const i64 price = c.price != 0 ? c.price : order->price;
    const i64 quantity = c.quantity != 0 ? c.quantity : order->quantity;
    const i64 stop_price = c.stop_price != 0 ? c.stop_price : order->stop_price;
    if (c.flags & LIMITED_NOTIONAL) {
        order->flags |= LIMITED_NOTIONAL;
        order->max_notional = c.max_notional;
    }
    if (price == order->price && stop_price == order->stop_price && quantity <= order->quantity) {
        const i64 shown_before = order->display_remaining;
        shrink(order, order->quantity - quantity);
        return say_amended(order, shown_before);
    }
    if (!order->waiting) {
        Event& event = emit(EventKind::PULLED, order->order_number);
        event.side = order->side;
        event.price = order->price;
        event.leaves = order->leaves;
        event.other_leaves = order->display_remaining;
        event.flags = RESTING;
    }
    detach(order);
    order->leaves += quantity - order->quantity;
    order->price = price;
    order->quantity = quantity;
    order->stop_price = stop_price;
    say_amended(order, 0);
    if (order->waiting) return enter(order);
    take(order);
    cascade();
}

// `shown_before` is the visible part it had in the place that it keeps; 0 if it waits or lost its place.
void Book::say_amended(const Order* order, i64 shown_before) {
    const bool kept = shown_before != 0;
    Event& event = emit(EventKind::AMENDED, order->order_number);
    event.side = order->side;
    event.price = order->price;
    event.quantity = order->quantity;
    event.leaves = order->leaves;
    event.other_number = order->waiting ? order->stop_price : shown_before;
    if (kept) {
        event.flags = RESTING;
        event.other_leaves = order->display_remaining;
    }
    if (kept || order->waiting) event.priority = order->priority;
}

void Book::cancel_all(const Command& c) {
    const Reason refusal = check_leaving(c);
    if (refusal != Reason::NONE) return reject(c.order_number, refusal);
    std::vector<i64> mine;
    pool_.for_each_live([&](const Order* order) {
        if (c.user == 0 || order->user == c.user) mine.push_back(order->order_number);
    });
    std::sort(mine.begin(), mine.end());
    const Reason reason = c.reason != 0 ? static_cast<Reason>(c.reason) : Reason::MASS_CANCEL;
    i64 ended = 0;
    for (const i64 order_number : mine) {
        Order* order = find(order_number);
        if (order == nullptr) continue;
        end(order, EventKind::CANCELLED, reason);
        if (++ended == c.quantity) return;
    }
}

void Book::set_state(const Command& c) {
    if (c.state > CLOSED) return reject(c.order_number, Reason::INVALID_COMMAND);
    state_ = c.state;
    emit(EventKind::STATE_CHANGED, c.order_number).reason = c.state;
}

void Book::tick(const Command& c) {
    if (c.quantity < 0) return reject(c.order_number, Reason::INVALID_COMMAND);
    expire(c.time_us, c.quantity);
}

void Book::configure(const Command& c) {
    for (const i64 rule : {c.price, c.stop_price, c.quantity, c.display, c.max_notional})
        if (rule < 0 || rule > MAX_VALUE) return reject(c.order_number, Reason::INVALID_COMMAND);
    if (c.flags > CASCADE_BUDGET) return reject(c.order_number, Reason::INVALID_COMMAND);
    price_band_ppm_ = c.price;
    max_slippage_ppm_ = c.stop_price;
    min_notional_ = c.quantity;
    max_open_orders_ = c.display;
    max_fills_ = c.max_notional;
    rules_ = c.flags;
    recount_users();
    emit(EventKind::CONFIGURED, c.order_number);
}

void Book::expire(i64 time_us, i64 at_most) {
    i64 expired = 0;
    for (Order* order; (order = first_due()) != nullptr && order->expires_us <= time_us;) {
        const Reason reason = order->time_in_force == DAY   ? Reason::DAY_END
                              : order->time_in_force == GTD ? Reason::GOOD_TILL_DATE
                                                            : Reason::MAX_LIFE;
        end(order, EventKind::EXPIRED, reason);
        if (++expired == at_most) return;
    }
}

std::pair<i128, i128> Book::walk(Side side, i64 quantity, i64 price) const {
    const i128 wanted = std::max<i64>(quantity, 0);
    i128 left = wanted, notional = 0;
    for (const auto& [key, level] : ladders_[1 - side].levels()) {
        if (left == 0 || (price != 0 && key > (side == BUY ? i128{price} : -i128{price}))) break;
        const i128 lots = std::min(left, level.total);
        left -= lots;
        notional += lots * level.price;
    }
    return {wanted - left, notional};
}

std::vector<OrderRecord> Book::live_orders() const {
    std::vector<OrderRecord> records;
    records.reserve(orders_.size());
    pool_.for_each_live([&](const Order* order) { records.push_back(order->record()); });
    std::sort(records.begin(), records.end(),
              [](const OrderRecord& a, const OrderRecord& b) { return a.priority < b.priority; });
    return records;
}

i64 Book::next_expiry() {
    const Order* order = first_due();
    return order == nullptr ? 0 : order->expires_us;
}

u64 Book::memory_bytes() const {
    // A node of std::map is its colour and three pointers beside the pair; an allocation costs two words more.
    constexpr u64 node_bytes = sizeof(std::pair<const i64, Level>) + 6 * sizeof(void*);
    u64 levels = 0;
    for (const Side side : {BUY, SELL}) levels += ladders_[side].levels().size() + stops_[side].levels().size();
    return pool_.capacity() * sizeof(Order) + orders_.bytes() + user_orders_.bytes() + levels * node_bytes +
           dirty_.capacity() * sizeof(Order*) + due_.capacity() * sizeof(Due) + events_.capacity() * sizeof(Event);
}

}  // namespace trade_engine
