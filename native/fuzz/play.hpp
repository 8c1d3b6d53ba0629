// Bytes become commands, commands go to a book and to its twin, and after each one everything that must hold is
// demanded: every invariant of the structure, the same events and state hash from the twin (which is rebuilt from
// records again and again), nothing changed by a refusal, no lot lost, no FOK order filled in part.
// Used by the fuzzer, which looks for the bytes, and by the tests, which draw them.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "../src/book.hpp"

namespace trade_engine {

inline void demand(bool holds, const std::string& what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what.c_str());
    std::abort();
}

// Reads numbers off the bytes; zeros when they are used up.
class Bytes {
  public:
    Bytes(const u8* at, std::size_t size) : at_(at), left_(size) {}
    bool empty() const { return left_ == 0; }
    u8 byte() {
        if (left_ == 0) return 0;
        --left_;
        return *at_++;
    }
    i64 small(i64 most) { return byte() % (most + 1); }
    // Mostly near `middle`, rarely any 64-bit number.
    i64 near(i64 middle, i64 spread) {
        const u8 first = byte();
        if (first != 255) return middle + first % (2 * spread + 1) - spread;
        u64 any = 0;
        for (int i = 0; i < 8; ++i) any = any << 8 | byte();
        return static_cast<i64>(any);
    }

  private:
    const u8* at_;
    std::size_t left_;
};

class Player {
  public:
    Player(const u8* at, std::size_t size) : bytes_(at, size) {}

    void play() {
        while (!bytes_.empty() && sequence_ < COMMANDS_MAX) {
            step(next());
            if (sequence_ % REBUILD_EVERY == 0) rebuild();
        }
        rebuild();
    }

  private:
    static constexpr i64 COMMANDS_MAX = 2'000;
    static constexpr i64 REBUILD_EVERY = 16;

    Command next() {
        Command c{};
        const u8 what = bytes_.byte();
        c.sequence = ++sequence_;
        c.time_us = time_us_ += what & 3;
        c.market_id = what == 255 ? 2 : 1;
        c.order_number = 1 + bytes_.small(sequence_ > 40 ? 39 : sequence_) + std::max<i64>(0, sequence_ - 40);
        switch (what >> 2 & 15) {
            case 0: c.kind = static_cast<u8>(CommandKind::CANCEL); break;
            case 1:
                c.kind = static_cast<u8>(CommandKind::REDUCE);
                c.quantity = bytes_.near(10, 12);
                break;
            case 2:
            case 3: amend(c); break;
            case 4: rare(c, bytes_.byte()); break;
            case 5:
            case 6:
                if (book_->triggers_due())
                    c.kind = static_cast<u8>(CommandKind::TRIGGER);
                else
                    place(c);
                break;
            default: place(c);
        }
        return c;
    }

    void place(Command& c) {
        c.kind = static_cast<u8>(CommandKind::PLACE);
        c.order_number = sequence_;
        const u8 shape = bytes_.byte(), more = bytes_.byte();
        c.side = shape & 1;
        c.type = shape >> 1 & 8 ? LIMIT : shape >> 1 & 3;
        c.time_in_force = shape >> 5 & 7;
        c.user = 1 + (more & 3);
        c.stp = more >> 2 & 7;
        c.quantity = bytes_.near(20, 19);
        if (c.type == LIMIT || c.type == STOP_LIMIT) c.price = bytes_.near(100, 10);
        if (c.type == STOP || c.type == STOP_LIMIT) c.stop_price = bytes_.near(100, 10);
        if (c.time_in_force == DAY || c.time_in_force == GTD || more >> 5 == 0) c.expires_us = bytes_.near(time_us_ + 60, 60);
        if (more & 32) c.display = bytes_.near(5, 5);
        if (more & 64) link(c);
        if (more & 128) {
            c.flags = bytes_.byte() & 31;
            c.max_notional = bytes_.near(1'000 + 10 * bytes_.small(200), 100);
            if (c.flags & QUOTE_AMOUNT) c.quantity = 0;
        }
    }

    // Mostly to an order that it can be linked to.
    void link(Command& c) {
        const u8 how = bytes_.byte();
        c.linked_number = how < 240 ? sequence_ - 1 - (how & 3) : bytes_.near(sequence_ - 1, 3);
        if (const Order* first_leg = find(c.linked_number); first_leg != nullptr && how < 240) {
            c.user = first_leg->user;
            c.side = first_leg->side;
        }
    }

    void amend(Command& c) {
        c.kind = static_cast<u8>(CommandKind::AMEND);
        const u8 what = bytes_.byte();
        if (what & 1) c.quantity = bytes_.near(20, 21);
        if (what & 2) c.price = bytes_.near(100, 10);
        if ((what & 12) == 12) c.stop_price = bytes_.near(100, 10);
        if ((what & 48) == 48) {
            c.flags = what >> 6 ? LIMITED_NOTIONAL : bytes_.byte();
            c.max_notional = bytes_.near(2'000, 100);
        }
    }

    void rare(Command& c, u8 what) {
        if (what < 32) {
            c.kind = static_cast<u8>(CommandKind::CANCEL_ALL);
            c.user = bytes_.small(5);
            c.quantity = bytes_.small(4);
        } else if (what < 80) {
            c.kind = static_cast<u8>(CommandKind::SET_STATE);
            c.state = what < 64 ? OPEN : what & 7;
        } else if (what < 160) {
            c.kind = static_cast<u8>(CommandKind::TICK);
            c.time_us = time_us_ += bytes_.small(100);
            c.quantity = bytes_.near(2, 2);
        } else if (what < 250) {
            c.kind = static_cast<u8>(CommandKind::CONFIGURE);
            c.price = what & 1 ? bytes_.near(100'000, 100) : 0;
            c.stop_price = what & 2 ? bytes_.near(50'000, 100) : 0;
            c.quantity = what & 4 ? bytes_.near(500, 100) : 0;
            c.display = what & 8 ? bytes_.near(10, 9) : 0;
            c.max_notional = what & 16 ? bytes_.near(4, 4) : 0;
            c.flags = bytes_.small(2);
        } else {
            c.kind = what;
        }
        c.reason = what % 11 == 0 ? static_cast<u8>(Reason::ADMIN_REQUEST) : 0;
    }

    void step(const Command& c) {
        const u128 before = book_->state_hash();
        book_->events().clear();
        twin_->events().clear();
        book_->run(c);
        twin_->run(c);
        const std::vector<Event>&events = book_->events(), &same = twin_->events();
        demand(events.size() == same.size(), "the rebuilt book answers with as many events");
        demand(events.empty() || std::memcmp(events.data(), same.data(), events.size() * sizeof(Event)) == 0,
               "the rebuilt book answers with the same events");
        const std::string problem = book_->check();
        demand(problem.empty(), problem);
        demand(book_->state_hash() == twin_->state_hash(), "the rebuilt book has the same state hash");
        if (events.size() == 1 && events[0].kind == static_cast<u8>(EventKind::REJECTED))
            demand(book_->state_hash() == before, "a refusal changes nothing");
        demand(book_->triggers_due() == twin_->triggers_due(), "the rebuilt book has stops that wait for their turn");
        bound(events);
        if (c.kind == static_cast<u8>(CommandKind::PLACE)) account(c, events);
    }

    // No command makes more fills, or starts more stops, than the rules allow it.
    void bound(const std::vector<Event>& events) {
        const Memory memory = book_->memory();
        if (memory.rules != CASCADE_BUDGET || memory.max_fills == 0) return;
        const auto count = [&](EventKind kind) {
            return std::count_if(events.begin(), events.end(), [&](const Event& e) { return e.kind == static_cast<u8>(kind); });
        };
        demand(count(EventKind::TRADE) <= memory.max_fills, "a command's fills are bounded");
        demand(count(EventKind::TRIGGERED) <= memory.max_fills, "the stops that a command starts are bounded");
    }

    // Where a new order's lots went.
    void account(const Command& c, const std::vector<Event>& events) {
        i64 traded = 0, ended = 0, resting = 0, reduced = 0;
        bool accepted = false;
        for (const Event& e : events) {
            const auto kind = static_cast<EventKind>(e.kind);
            if (kind == EventKind::TRADE) demand(e.quantity > 0 && e.price > 0, "a trade has a price and a quantity");
            if (e.order_number != c.order_number) continue;
            if (kind == EventKind::ACCEPTED) accepted = true;
            if (kind == EventKind::TRADE) traded += e.quantity;
            if (kind == EventKind::CANCELLED) ended += e.quantity;
            if (kind == EventKind::REDUCED && !(c.flags & QUOTE_AMOUNT)) reduced += e.quantity;
            if (kind == EventKind::RESTED || kind == EventKind::PENDING) resting = e.leaves;
        }
        // What rests may be met by a stop that was started by the same command: then it is not the taker's account.
        const Order* order = find(c.order_number);
        if (!accepted || c.flags & QUOTE_AMOUNT || (resting != 0 && (order == nullptr || order->leaves != resting))) return;
        demand(traded + ended + resting + reduced == c.quantity, "an order's lots are traded, cancelled or resting");
        if (c.time_in_force == FOK && traded != 0) demand(traded == c.quantity, "a FOK order is filled whole");
        if ((c.time_in_force == FOK || c.time_in_force == IOC) && (c.type == LIMIT || c.type == MARKET))
            demand(resting == 0, "an order that takes at once does not rest");
    }

    const Order* find(i64 order_number) { return book_->find(order_number); }

    void rebuild() {
        const std::vector<OrderRecord> records = book_->live_orders();
        const Memory memory = book_->memory();
        auto fresh = std::make_unique<Book>(1);
        const std::string problem = fresh->restore(memory, records.data(), records.size());
        demand(problem.empty(), problem);
        demand(fresh->state_hash() == book_->state_hash(), "a book that is rebuilt has the same state hash");
        demand(fresh->next_expiry() == book_->next_expiry(), "a book that is rebuilt expires at the same time");
        twin_ = std::move(fresh);
    }

    Bytes bytes_;
    std::unique_ptr<Book> book_ = std::make_unique<Book>(1), twin_ = std::make_unique<Book>(1);
    i64 sequence_ = 0, time_us_ = 1'000;
};

}  // namespace trade_engine
