// How a book changes: an order rests, waits, shrinks, ends.  Every change keeps the sums of the levels, the count of
// each user's orders and the state hash right, and writes its event.  The twin of matching/book_state.py.
#include <algorithm>

#include "blake2b.hpp"
#include "book.hpp"

namespace trade_engine {

namespace {

u128 memory_hash(const Memory& memory) {
    if (memory.rules != 0 || memory.reached_high != 0 || memory.next_high != 0) return blake2b_128(memory);
    FirstMemory first;
    std::memcpy(&first, &memory, sizeof(first));
    return blake2b_128(first);
}

}  // namespace

Event& Book::emit(EventKind kind, i64 order_number) {
    Event& event = events_.emplace_back();
    event.kind = static_cast<u8>(kind);
    event.market_id = market_id_;
    event.sequence = sequence_;
    event.order_number = order_number;
    return event;
}

void Book::reject(i64 order_number, Reason reason) {
    emit(EventKind::REJECTED, order_number).reason = static_cast<u8>(reason);
}

void Book::touch(Order* order) {
    if (order->dirty) return;
    order->dirty = true;
    dirty_.push_back(order);  // has room: place() reserved a place for every slot of the pool
}

void Book::insert(Order* order) {
    orders_.insert(order->order_number, order);
    order->live = true;
    if (max_open_orders_ != 0) count_user(order->user, 1);
    if (order->waiting)
        stops_[order->reached_falling()].add(order, order->stop_price);
    else
        ladders_[order->side].add(order, order->price);
    if (order->expires_us != 0) schedule(order);
    touch(order);
}

void Book::detach(Order* order) {
    if (!order->waiting)
        ladders_[order->side].remove(order);
    else if (order->level != nullptr)
        stops_[order->reached_falling()].remove(order);
    orders_.erase(order->order_number);
    order->live = false;
    if (max_open_orders_ != 0) count_user(order->user, -1);
    hash_sum_ -= static_cast<u128>(order->hash_high) << 64 | order->hash_low;
    order->hash_low = order->hash_high = 0;
}

void Book::rest(Order* order) {
    order->priority = ++priority_;
    order->display_remaining = order->display != 0 ? std::min(order->display, order->leaves) : order->leaves;
    insert(order);
    Event& event = emit(EventKind::RESTED, order->order_number);
    event.side = order->side;
    event.price = order->price;
    event.leaves = order->leaves;
    event.quantity = order->display_remaining;
    event.priority = order->priority;
}

void Book::wait(Order* order) {
    order->priority = ++priority_;
    order->waiting = 1;
    insert(order);
    Event& event = emit(EventKind::PENDING, order->order_number);
    event.side = order->side;
    event.price = order->stop_price;
    event.leaves = order->leaves;
    event.priority = order->priority;
}

void Book::end(Order* order, EventKind kind, Reason reason) {
    const i64 linked_number = order->linked_number;
    end_one(order, kind, reason);
    if (linked_number != 0) end_one(find(linked_number), EventKind::CANCELLED, Reason::LINKED_ORDER);
}

void Book::cancel_linked(Order* order) {
    if (order->linked_number == 0) return;
    Order* other = find(order->linked_number);
    order->linked_number = 0;
    if (order->live) touch(order);
    end_one(other, EventKind::CANCELLED, Reason::LINKED_ORDER);
}

void Book::end_one(Order* order, EventKind kind, Reason reason) {
    detach(order);
    Event& event = emit(kind, order->order_number);
    event.reason = static_cast<u8>(reason);
    event.side = order->side;
    event.price = order->price;
    event.quantity = order->leaves;
    if (!order->waiting) {
        event.flags = RESTING;
        event.other_leaves = order->display_remaining;
    }
    pool_.release(order);
}

void Book::shrink(Order* order, i64 quantity) {
    order->quantity -= quantity;
    order->leaves -= quantity;
    const i64 shown_off = order->display_remaining - std::min(order->display_remaining, order->leaves);
    order->display_remaining -= shown_off;
    order->level->visible -= shown_off;
    order->level->total -= quantity;
    touch(order);
}

void Book::reduce(Order* order, i64 quantity, Reason reason) {
    const i64 shown_before = order->display_remaining;
    shrink(order, quantity);
    Event& event = emit(EventKind::REDUCED, order->order_number);
    event.reason = static_cast<u8>(reason);
    event.side = order->side;
    event.price = order->price;
    event.quantity = quantity;
    event.leaves = order->leaves;
    event.flags = order->waiting ? 0 : RESTING;
    event.other_number = shown_before;
    event.other_leaves = order->display_remaining;
}

bool Book::stop_reached(const Order* order) const {
    if (last_price_ == 0) return false;
    return order->reached_falling() ? last_price_ <= order->stop_price : last_price_ >= order->stop_price;
}

void Book::count_user(i64 user, i64 by) {
    i64* count = user_orders_.find(user);
    if (count == nullptr) {
        user_orders_.reserve_one();
        user_orders_.insert(user, by);
    } else if ((*count += by) == 0) {
        user_orders_.erase(user);
    }
}

void Book::recount_users() {
    user_orders_.clear();
    if (max_open_orders_ != 0) orders_.for_each([this](i64, const Order* order) { count_user(order->user, 1); });
}

void Book::schedule(const Order* order) {
    if (due_.size() > 2 * orders_.size() + 64) {
        due_.clear();
        orders_.for_each([this](i64, const Order* live) {
            if (live->expires_us != 0) due_.push_back({live->expires_us, live->order_number});
        });
        std::make_heap(due_.begin(), due_.end(), std::greater<>());
        return;
    }
    due_.push_back({order->expires_us, order->order_number});
    std::push_heap(due_.begin(), due_.end(), std::greater<>());
}

Order* Book::first_due() {
    while (!due_.empty()) {
        Order* order = find(due_.front().order_number);
        if (order != nullptr && order->expires_us == due_.front().expires_us) return order;
        std::pop_heap(due_.begin(), due_.end(), std::greater<>());
        due_.pop_back();
    }
    return nullptr;
}

Memory Book::memory() const {
    return {last_price_, state_, priority_, price_band_ppm_, max_slippage_ppm_, min_notional_, max_open_orders_,
            max_fills_, rules_, reached_high_, reached_low_, next_high_, next_low_};
}

void Book::load_memory(const Memory& memory) {
    last_price_ = memory.last_price;
    state_ = static_cast<u8>(memory.state);
    priority_ = memory.priority;
    price_band_ppm_ = memory.price_band_ppm;
    max_slippage_ppm_ = memory.max_slippage_ppm;
    min_notional_ = memory.min_notional;
    max_open_orders_ = memory.max_open_orders;
    max_fills_ = memory.max_fills;
    rules_ = memory.rules;
    reached_high_ = memory.reached_high;
    reached_low_ = memory.reached_low;
    next_high_ = memory.next_high;
    next_low_ = memory.next_low;
}

u128 Book::state_hash() {
    for (Order* order : dirty_) {
        order->dirty = false;
        if (!order->live) continue;
        const u128 fresh = blake2b_128(order->record());
        hash_sum_ += fresh - (static_cast<u128>(order->hash_high) << 64 | order->hash_low);
        order->hash_low = static_cast<u64>(fresh);
        order->hash_high = static_cast<u64>(fresh >> 64);
    }
    dirty_.clear();
    return hash_sum_ + memory_hash(memory());
}

}  // namespace trade_engine
