// How a book is filled from what another one told, and how it is checked: the twin of matching/recovery.py.
#include <algorithm>
#include <string>

#include "book.hpp"

namespace trade_engine {

namespace {

constexpr u8 LIVE_FLAGS = POST_ONLY | LIMITED_NOTIONAL | REVERSED;  // what an order that rests or waits may have

std::string about(i64 order_number, const std::string& problem) {
    return "order " + std::to_string(order_number) + ": " + problem;
}

const char* memory_problem(const Memory& m) {
    if (m.state < OPEN || m.state > CLOSED) return "the market state is not known";
    for (const i64 number : {m.last_price, m.priority, m.price_band_ppm, m.max_slippage_ppm, m.min_notional,
                             m.max_open_orders, m.max_fills, m.rules, m.reached_high, m.reached_low, m.next_high,
                             m.next_low})
        if (number < 0 || number > MAX_VALUE) return "memory out of range";
    if (m.rules > CASCADE_BUDGET) return "memory out of range";
    const bool waits = m.reached_high != 0, more = m.next_high != 0;
    if (waits != (m.reached_low != 0) || more != (m.next_low != 0) || m.reached_high < m.reached_low ||
        m.next_high < m.next_low || (more && !waits))
        return "the stops that wait for their turn contradict one another";
    return nullptr;
}

// What is wrong with orders in ascending priority, or empty.
std::string first_problem(const OrderRecord* orders, u64 count, i64 highest_priority) {
    FlatMap<u64> places;
    for (u64 i = 0; i < count; ++i) {
        const OrderRecord& order = orders[i];
        const char* problem = order_problem(order);
        if (problem != nullptr) return about(order.order_number, problem);
        if (places.find(order.order_number) != nullptr) return "an order number comes twice";
        places.reserve_one();
        places.insert(order.order_number, i);
        if (order.priority <= (i == 0 ? 0 : orders[i - 1].priority) || order.priority > highest_priority)
            return about(order.order_number, "priority " + std::to_string(order.priority) + " is out of order");
    }
    for (u64 i = 0; i < count; ++i) {
        if (orders[i].linked_number == 0) continue;
        const u64* other = places.find(orders[i].linked_number);
        if (other == nullptr || orders[*other].linked_number != orders[i].order_number)
            return about(orders[i].order_number, "its other leg is not there or not linked to it");
    }
    return {};
}

}  // namespace

const char* order_problem(const OrderRecord& o) {
    for (const i64 number : {o.price, o.stop_price, o.display, o.display_remaining, o.max_notional, o.spent_notional,
                             o.expires_us})
        if (number < 0 || number > MAX_VALUE) return "a number is out of range";
    if (o.order_number <= 0 || o.user <= 0 || o.linked_number < 0) return "a number is out of range";
    if (o.side > SELL || o.type > STOP_LIMIT || o.time_in_force > GTD || o.stp > ALLOWED ||
        (o.flags & ~LIVE_FLAGS) != 0 || o.waiting > 1)
        return "an enumeration is out of range";
    if (o.leaves <= 0 || o.leaves > o.quantity || o.quantity > MAX_VALUE ||
        static_cast<i128>(o.price) * o.quantity > MAX_VALUE)
        return "its quantities contradict one another";
    const bool is_stop = o.type == STOP || o.type == STOP_LIMIT;
    if ((o.flags & REVERSED) && !is_stop) return "an enumeration is out of range";
    if (o.waiting)
        return is_stop && o.stop_price != 0 && o.display_remaining == 0 ? nullptr : "it cannot wait as a stop";
    if (o.type == MARKET || o.type == STOP || o.price == 0) return "it cannot rest";
    const i64 most = o.display != 0 ? std::min(o.display, o.leaves) : o.leaves;
    if (o.display_remaining <= 0 || o.display_remaining > most || (o.display == 0 && o.display_remaining != o.leaves))
        return "its visible part is wrong";
    if ((o.flags & LIMITED_NOTIONAL) && static_cast<i128>(o.price) * o.leaves > o.max_notional - o.spent_notional)
        return "it could spend more than it may";
    return nullptr;
}

std::string Book::restore(const Memory& memory, const OrderRecord* orders, u64 count) {
    if (orders_.size() != 0 || priority_ != 0) return "only an empty book can be restored";
    if (const char* problem = memory_problem(memory); problem != nullptr) return problem;
    if (std::string problem = first_problem(orders, count, memory.priority); !problem.empty()) return problem;
    const Memory before = this->memory();
    load_memory(memory);
    for (u64 i = 0; i < count; ++i) {
        const OrderRecord& r = orders[i];
        pool_.reserve_one();
        dirty_.reserve(pool_.capacity());
        orders_.reserve_one();
        Order* o = pool_.acquire();
        o->order_number = r.order_number, o->user = r.user, o->leaves = r.leaves;
        o->display_remaining = r.display_remaining;
        o->side = r.side, o->type = r.type, o->time_in_force = r.time_in_force, o->stp = r.stp, o->flags = r.flags;
        o->waiting = r.waiting, o->price = r.price, o->quantity = r.quantity, o->stop_price = r.stop_price;
        o->display = r.display, o->max_notional = r.max_notional, o->spent_notional = r.spent_notional;
        o->expires_us = r.expires_us, o->linked_number = r.linked_number, o->priority = r.priority;
        insert(o);
    }
    const Level *bid = ladders_[BUY].best(), *ask = ladders_[SELL].best();
    if (bid == nullptr || ask == nullptr || bid->price < ask->price) return {};
    for (const OrderRecord& record : live_orders()) {
        Order* order = find(record.order_number);
        detach(order);
        pool_.release(order);
    }
    load_memory(before);
    return "the book is crossed";
}

std::string Book::check() {
    u64 seen = 0;
    for (const Side side : {BUY, SELL}) {
        for (const Ladder* ladder : {&ladders_[side], &stops_[side]}) {
            const bool waiting = ladder == &stops_[side];
            if (ladder->best() != (ladder->levels().empty() ? nullptr : &ladder->levels().begin()->second))
                return "the best level is not the first";
            for (const auto& [key, level] : ladder->levels()) {
                i64 number = 0, last_priority = 0;
                i128 visible = 0, total = 0;
                const Order* previous = nullptr;
                for (const Order* o = level.head; o != nullptr; previous = o, o = o->next, ++number) {
                    if (find(o->order_number) != o || !o->live) return about(o->order_number, "not known by number");
                    if (o->level != &level || o->previous != previous || o->waiting != waiting ||
                        (waiting ? o->reached_falling() : o->side) != side)
                        return about(o->order_number, "misplaced");
                    if ((waiting ? o->stop_price : o->price) != level.price || level.key != key)
                        return about(o->order_number, "at the wrong price");
                    if (o->priority <= last_priority) return about(o->order_number, "out of time order");
                    last_priority = o->priority;
                    visible += o->display_remaining;
                    total += o->leaves;
                }
                if (number == 0) return "a level is empty";
                if (level.tail != previous || number != level.count || visible != level.visible || total != level.total)
                    return "a level's sums are wrong";
                seen += static_cast<u64>(number);
            }
        }
    }
    if (seen != orders_.size()) return "orders by number and orders by level differ";
    const Level *bid = ladders_[BUY].best(), *ask = ladders_[SELL].best();
    if (bid != nullptr && ask != nullptr && bid->price >= ask->price) return "the book is crossed";
    const std::vector<OrderRecord> records = live_orders();
    if (std::string problem = first_problem(records.data(), records.size(), priority_); !problem.empty())
        return problem;
    i64 first_expiry = 0;
    FlatMap<i64> counted;
    for (const OrderRecord& record : records) {
        if (record.expires_us != 0 && (first_expiry == 0 || record.expires_us < first_expiry))
            first_expiry = record.expires_us;
        counted.reserve_one();
        if (i64* count = counted.find(record.user); count != nullptr)
            ++*count;
        else
            counted.insert(record.user, 1);
    }
    if (next_expiry() != first_expiry) return "the next expiry is wrong";
    if (max_open_orders_ == 0) return {};
    bool same = counted.size() == user_orders_.size();
    counted.for_each([&](i64 user, i64 count) {
        const i64* kept = user_orders_.find(user);
        same = same && kept != nullptr && *kept == count;
    });
    return same ? std::string() : "a user's open orders are miscounted";
}

}  // namespace trade_engine
