// Orders, price levels and the ladder of one side.  Prices are signed keys, so that a lower key always comes first and
// one code path serves both sides.  Structure only: no matching, no events.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "records.hpp"

namespace trade_engine {

struct Level;

struct Order {
    i64 order_number, user, leaves, display_remaining;
    Order *next, *previous;
    Level* level;
    u8 side, type, time_in_force, stp, flags, waiting;
    bool live;   // known by number
    bool dirty;  // in the list of those whose hash is out of date
    i64 price, quantity, stop_price, display, max_notional, spent_notional, expires_us, linked_number, priority;
    u64 hash_low, hash_high;  // what the state hash holds for this order now

    bool is_stop() const { return type == STOP || type == STOP_LIMIT; }
    // Whether it waits for the price to fall (1) or to rise (0): the ladder of stops that it waits in.
    u8 reached_falling() const { return flags & REVERSED ? 1 - side : side; }
    bool enters_as_market() const { return type == MARKET || type == STOP; }
    OrderRecord record() const {
        return {side, type, time_in_force, stp, flags, waiting, {}, order_number, user, price, quantity, leaves,
                stop_price, display, display_remaining, max_notional, spent_notional, expires_us, linked_number, priority};
    }
};

// Orders live in chunks that are never given back, so a pointer stays valid and a freed slot is reused at once.
class OrderPool {
  public:
    // Make room for one more order.  Throws std::bad_alloc, and is unchanged then.
    void reserve_one() {
        if (free_ == nullptr) grow();
    }
    Order* acquire() {
        Order* order = free_;
        free_ = order->next;
        return order;
    }
    void release(Order* order) {
        order->live = false;
        order->next = free_;
        free_ = order;
    }
    u64 capacity() const { return chunks_.size() * CHUNK; }

    template <typename Visit>
    void for_each_live(Visit visit) const {
        for (const auto& chunk : chunks_)
            for (u64 i = 0; i < CHUNK; ++i)
                if (chunk[i].live) visit(&chunk[i]);
    }

  private:
    static constexpr u64 CHUNK = 512;

    void grow() {
        chunks_.reserve(chunks_.size() + 1);
        auto chunk = std::make_unique<Order[]>(CHUNK);
        for (u64 i = CHUNK; i-- > 0;) release(&chunk[i]);
        chunks_.push_back(std::move(chunk));
    }

    std::vector<std::unique_ptr<Order[]>> chunks_;
    Order* free_ = nullptr;
};

struct Level {
    i64 key = 0, price = 0;
    Order *head = nullptr, *tail = nullptr;
    i64 count = 0;
    i128 visible = 0;  // sum of the parts on show
    i128 total = 0;    // sum of all that can trade, hidden parts included

    void append(Order* order) {
        order->level = this;
        order->previous = tail;
        order->next = nullptr;
        (tail == nullptr ? head : tail->next) = order;
        tail = order;
        ++count;
        visible += order->display_remaining;
        total += order->leaves;
    }
    void unlink(Order* order) {
        (order->previous == nullptr ? head : order->previous->next) = order->next;
        (order->next == nullptr ? tail : order->next->previous) = order->previous;
        order->level = nullptr;
        --count;
        visible -= order->display_remaining;
        total -= order->leaves;
    }
};

class Ladder {
  public:
    explicit Ladder(i64 sign) : sign_(sign) {}

    // The level that comes first, or nullptr.
    Level* best() const { return best_; }

    void add(Order* order, i64 price) {
        const i64 key = sign_ * price;
        if (best_ != nullptr && best_->key == key) {
            best_->append(order);
            return;
        }
        auto [it, fresh] = levels_.try_emplace(key);
        Level* level = &it->second;
        if (fresh) {
            level->key = key;
            level->price = price;
            if (best_ == nullptr || key < best_->key) best_ = level;
        }
        level->append(order);
    }
    void remove(Order* order) {
        Level* level = order->level;
        level->unlink(order);
        if (level->head != nullptr) return;
        if (level == best_) {
            levels_.erase(levels_.begin());
            best_ = levels_.empty() ? nullptr : &levels_.begin()->second;
        } else {
            levels_.erase(level->key);
        }
    }
    const Level* at(i64 price) const {
        if (price <= 0) return nullptr;
        const auto it = levels_.find(sign_ * price);
        return it == levels_.end() ? nullptr : &it->second;
    }
    const std::map<i64, Level>& levels() const { return levels_; }
    void clear() {
        levels_.clear();
        best_ = nullptr;
    }

  private:
    i64 sign_;
    std::map<i64, Level> levels_;
    Level* best_ = nullptr;
};

}  // namespace trade_engine
