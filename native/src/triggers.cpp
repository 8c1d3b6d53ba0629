// How stops that trades have reached enter the market: in which order, and how many of them in one command.
// The twin of matching/triggers.py, which says what a round is.
#include <algorithm>

#include "book.hpp"

namespace trade_engine {

// Start the stops that the last taker's trades have reached, and those that their trades reach.
void Book::cascade() {
    if ((rules_ & CASCADE_BUDGET) == 0 && reached_high_ == 0) return cascade_whole();
    widen();
    for (Order* order; (order = next_in_turn()) != nullptr && may_start(order);) {
        detach(order);
        trigger(order);
        widen();
    }
}

void Book::trigger(Order* order) {
    ++started_;
    order->waiting = 0;
    Event& event = emit(EventKind::TRIGGERED, order->order_number);
    event.side = order->side;
    event.price = last_price_;
    event.leaves = order->leaves;
    cancel_linked(order);
    if ((order->flags & POST_ONLY) && would_take(order->side, order->price)) {
        trade_high_ = trade_low_ = 0;
        cancel_rest(order, Reason::TRIGGER_REFUSED);
    } else {
        take(order);
    }
}

void Book::trigger_waiting() {
    trade_high_ = trade_low_ = 0;
    cascade();
}

// Let the next round have the stops that the last taker's trades have reached.
void Book::widen() {
    if (trade_high_ == 0) return;
    next_high_ = std::max(next_high_, trade_high_);
    next_low_ = next_low_ == 0 ? trade_low_ : std::min(next_low_, trade_low_);
}

// The stop whose turn it is; nullptr if no stop waits for its turn any more.
Order* Book::next_in_turn() {
    for (;;) {
        const i64 reached[2] = {reached_high_, -reached_low_};
        for (const Side side : {BUY, SELL}) {
            const Level* level = stops_[side].best();
            if (reached[side] != 0 && level != nullptr && level->key <= reached[side]) return level->head;
        }
        reached_high_ = next_high_;
        reached_low_ = next_low_;
        next_high_ = next_low_ = 0;
        if (reached_high_ == 0) return nullptr;
    }
}

// Whether the command under way may start one more stop; its first one it always may.
bool Book::may_start(const Order* order) const {
    if (max_fills_ == 0) return true;
    if (started_ >= max_fills_) return false;
    return met_ == 0 || foresee(order, limit_key(order)) != Outlook::TOO_LONG;
}

// All stops that were reached, in the order in which they were, whatever that takes: the rule of version 0.1.
void Book::cascade_whole() {
    if (trade_high_ == 0) return;
    collect_stops();
    for (u64 i = 0; i < triggered_.size(); ++i) {
        Order* order = find(triggered_[i]);
        if (order == nullptr || !order->waiting || order->level != nullptr) continue;
        detach(order);
        trigger(order);
        collect_stops();
    }
    triggered_.clear();
}

void Book::collect_stops() {
    if (trade_high_ == 0) return;
    const i64 reached[2] = {trade_high_, -trade_low_};
    for (const Side side : {BUY, SELL}) {
        for (Level* level; (level = stops_[side].best()) != nullptr && level->key <= reached[side];) {
            Order* order = level->head;
            stops_[side].remove(order);
            triggered_.push_back(order->order_number);
        }
    }
}

}  // namespace trade_engine
