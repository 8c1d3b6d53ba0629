// One market's book: commands in, events out; the twin of trade_engine/matching/reference.py, step by step.
// Deterministic: no I/O, no clock, no randomness, no recursion.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "flat_map.hpp"
#include "ladder.hpp"
#include "records.hpp"

namespace trade_engine {

class Book {
  public:
    explicit Book(u32 market_id) : market_id_(market_id) {}
    Book(const Book&) = delete;
    Book& operator=(const Book&) = delete;

    // Carry out one command; its events are appended to events().  Throws std::bad_alloc only if memory runs out in
    // the middle, after which the book must not be used any more.
    void run(const Command& command);

    std::vector<Event>& events() { return events_; }

    u32 market_id() const { return market_id_; }
    u64 size() const { return orders_.size(); }
    const Ladder& ladder(Side side) const { return ladders_[side]; }
    Order* find(i64 order_number) {
        Order** slot = orders_.find(order_number);
        return slot == nullptr ? nullptr : *slot;
    }
    std::pair<i128, i128> walk(Side side, i64 quantity, i64 price) const;
    std::vector<OrderRecord> live_orders() const;
    Memory memory() const;
    i64 next_expiry();
    // Whether stops wait for a TRIGGER that may start them.
    bool triggers_due() const { return reached_high_ != 0 && state_ == OPEN; }
    u128 state_hash();

    // Fill an empty book; an empty answer is success, else it says what is wrong and the book stays empty.
    std::string restore(const Memory& memory, const OrderRecord* orders, u64 count);
    // Verify every invariant; an empty answer is success, else it says what does not hold.
    std::string check();
    // Bytes held for orders, levels, indexes and the last answer's events.
    u64 memory_bytes() const;

  private:
    struct Due {
        i64 expires_us, order_number;
        bool operator>(const Due& o) const {
            return expires_us != o.expires_us ? expires_us > o.expires_us : order_number > o.order_number;
        }
    };

    // Events (book.cpp)
    Event& emit(EventKind kind, i64 order_number);
    void reject(i64 order_number, Reason reason);

    // Changes of structure (book_state.cpp)
    void touch(Order* order);
    void insert(Order* order);
    void detach(Order* order);
    void rest(Order* order);
    void wait(Order* order);
    void end(Order* order, EventKind kind, Reason reason);
    void end_one(Order* order, EventKind kind, Reason reason);
    void cancel_linked(Order* order);
    void shrink(Order* order, i64 quantity);
    void reduce(Order* order, i64 quantity, Reason reason);
    bool stop_reached(const Order* order) const;
    void count_user(i64 user, i64 by);
    void recount_users();
    void schedule(const Order* order);
    Order* first_due();
    void load_memory(const Memory& memory);

    // Refusals (checks.cpp)
    Reason check_state(const Command& c) const;
    Reason check_leaving(const Command& c) const;
    Reason check_place(const Command& c);
    Reason check_shape(const Command& c);
    Reason check_numbers(const Command& c) const;
    Reason check_link(const Command& c);
    Reason check_rules(const Command& c);
    Reason check_amend(const Order* order, const Command& c) const;
    Reason check_amended_rules(const Order* order, i64 price, i64 quantity, i64 stop_price) const;
    bool outside_band(i64 price) const;
    i128 notional(const Command& c) const;

    // Matching (taker.cpp); a taker is not live, and take() leaves it resting or released
    bool would_take(u8 side, i64 price) const;
    i64 limit_key(const Order* taker) const;
    void take(Order* taker);
    Reason match(Order* taker, i64 worst);
    void fill(Order* taker, Order* maker, Level* level, i64 quantity);
    void refill(Order* maker, Level* level);
    bool prevent_self_trade(Order* taker, Order* maker);
    bool decrement(Order* taker, i64 price, i64 lots);
    // How a taker would end: filled; with a rest, or stopped by something; by the command's maximum of fills.
    enum class Outlook { WHOLE, SHORT, TOO_LONG };
    Outlook foresee(const Order* taker, i64 worst) const;
    void cancel_rest(Order* taker, Reason reason);

    // Stops that were reached (triggers.cpp)
    void cascade();
    void trigger(Order* order);
    void trigger_waiting();
    void widen();
    Order* next_in_turn();
    bool may_start(const Order* order) const;
    void cascade_whole();
    void collect_stops();

    // Commands (book.cpp)
    void place(const Command& c);
    void enter(Order* order);
    void cancel(const Command& c);
    void reduce_order(const Command& c);
    void amend(const Command& c);
    void say_amended(const Order* order, i64 shown_before);
    void cancel_all(const Command& c);
    void set_state(const Command& c);
    void tick(const Command& c);
    void configure(const Command& c);
    void expire(i64 time_us, i64 at_most);

    u32 market_id_;
    i64 sequence_ = 0;
    std::vector<Event> events_;
    FlatMap<Order*> orders_;
    OrderPool pool_;
    Ladder ladders_[2] = {Ladder(-1), Ladder(1)};  // highest bid and lowest ask first
    Ladder stops_[2] = {Ladder(1), Ladder(-1)};    // reached first as the price rises, as it falls
    std::vector<Due> due_;                         // heap, soonest first; ended orders vanish lazily
    FlatMap<i64> user_orders_;                     // live orders a user; kept only while max_open_orders_ is set
    std::vector<i64> triggered_;                   // order numbers of stops that are to enter, in order
    std::vector<Order*> dirty_;
    u128 hash_sum_ = 0;

    i64 last_price_ = 0, priority_ = 0, price_band_ppm_ = 0, max_slippage_ppm_ = 0, min_notional_ = 0;
    i64 max_open_orders_ = 0, max_fills_ = 0, rules_ = 0;
    i64 reached_high_ = 0, reached_low_ = 0;  // stops that wait for their turn; 0: none do
    i64 next_high_ = 0, next_low_ = 0;        // those whose turn comes after them
    u8 state_ = OPEN;
    i64 trade_high_ = 0, trade_low_ = 0;  // of the last taker's trades; 0: none
    i64 met_ = 0, started_ = 0;           // makers met, and stops started, by the command under way
};

inline bool may_rest(u8 type, u8 time_in_force) {
    if (type == STOP || type == STOP_LIMIT) return true;
    return type == LIMIT && time_in_force != IOC && time_in_force != FOK;
}

// What a taker can still take: lots, or notional if it buys by amount.
inline i64 left_of(const Order* taker) {
    return taker->flags & QUOTE_AMOUNT ? taker->max_notional - taker->spent_notional : taker->leaves;
}

// What is wrong with a live order in itself; nullptr if nothing is.
const char* order_problem(const OrderRecord& record);

}  // namespace trade_engine
