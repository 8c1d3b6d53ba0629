// A flat hash map from a positive 64-bit number to a small value: open addressing, linear probing, no tombstones.
// reserve_one() is the only function that allocates, so that a command can make sure of its memory before it begins.
#pragma once

#include <vector>

#include "records.hpp"

namespace trade_engine {

template <typename Value>
class FlatMap {
  public:
    FlatMap() { resize(MIN_SLOTS); }

    // Make room for one more key.  Throws std::bad_alloc, and is unchanged then.
    void reserve_one() {
        if ((size_ + 1) * 2 > slots_.size()) resize(slots_.size() * 2);
    }

    // The value of a key, or nullptr.  Keys that are not positive are never there.
    Value* find(i64 key) {
        if (key <= 0) return nullptr;
        for (u64 i = home(key);; i = (i + 1) & mask_) {
            if (slots_[i].key == key) return &slots_[i].value;
            if (slots_[i].key == 0) return nullptr;
        }
    }

    // Add a key that is not there; reserve_one() must have been called.
    void insert(i64 key, Value value) {
        u64 i = home(key);
        while (slots_[i].key != 0) i = (i + 1) & mask_;
        slots_[i] = {key, value};
        ++size_;
    }

    // Remove a key that is there; later keys of the run move up.
    void erase(i64 key) {
        u64 hole = home(key);
        while (slots_[hole].key != key) hole = (hole + 1) & mask_;
        for (u64 i = (hole + 1) & mask_; slots_[i].key != 0; i = (i + 1) & mask_) {
            if (((i - home(slots_[i].key)) & mask_) >= ((i - hole) & mask_)) {
                slots_[hole] = slots_[i];
                hole = i;
            }
        }
        slots_[hole].key = 0;
        --size_;
    }

    void clear() {
        for (Slot& slot : slots_) slot.key = 0;
        size_ = 0;
    }

    u64 size() const { return size_; }
    u64 bytes() const { return slots_.size() * sizeof(Slot); }

    template <typename Visit>
    void for_each(Visit visit) const {
        for (const Slot& slot : slots_)
            if (slot.key != 0) visit(slot.key, slot.value);
    }

  private:
    struct Slot {
        i64 key = 0;
        Value value{};
    };
    static constexpr u64 MIN_SLOTS = 64;

    u64 home(i64 key) const { return (static_cast<u64>(key) * 0x9e3779b97f4a7c15) >> shift_; }

    void resize(u64 count) {
        std::vector<Slot> old(count);
        old.swap(slots_);
        mask_ = count - 1;
        shift_ = 64 - std::countr_zero(count);
        for (const Slot& slot : old) {
            if (slot.key == 0) continue;
            u64 i = home(slot.key);
            while (slots_[i].key != 0) i = (i + 1) & mask_;
            slots_[i] = slot;
        }
    }

    std::vector<Slot> slots_;
    u64 size_ = 0, mask_ = 0;
    int shift_ = 0;
};

}  // namespace trade_engine
