// The wire records and vocabulary of the core, as trade_engine/domain/commands.py, events.py, enums.py and
// matching/state_hash.py define them.  Little-endian machines only.
#pragma once

#include <bit>
#include <cstdint>

namespace trade_engine {

static_assert(std::endian::native == std::endian::little, "the wire format is little-endian");

using i64 = std::int64_t;
using u64 = std::uint64_t;
using u32 = std::uint32_t;
using u8 = std::uint8_t;
__extension__ typedef __int128 i128;
__extension__ typedef unsigned __int128 u128;

// The largest price, quantity, notional or rule: 90,000,000,000 in units of 1e-8.
inline constexpr i64 MAX_VALUE = 9'000'000'000'000'000'000;
inline constexpr i64 PPM = 1'000'000;

enum Side : u8 { BUY = 0, SELL = 1 };
enum OrderType : u8 { LIMIT = 0, MARKET = 1, STOP = 2, STOP_LIMIT = 3 };
enum TimeInForce : u8 { GTC = 0, IOC = 1, FOK = 2, DAY = 3, GTD = 4 };
enum SelfTrade : u8 { CANCEL_NEWEST = 0, CANCEL_OLDEST = 1, CANCEL_BOTH = 2, DECREMENT = 3, ALLOWED = 4 };
enum MarketState : u8 { OPEN = 0, HALTED = 1, CANCEL_ONLY = 2, CLOSED = 3 };
enum OrderFlag : u8 { POST_ONLY = 1, LIMITED_NOTIONAL = 2, QUOTE_AMOUNT = 4, REVERSED = 8 };
enum RuleFlag : u8 { CASCADE_BUDGET = 1 };

enum class CommandKind : u8 { PLACE = 1, CANCEL, REDUCE, AMEND, CANCEL_ALL, SET_STATE, TICK, CONFIGURE, TRIGGER };

enum class EventKind : u8 {
    ACCEPTED = 1, REJECTED, TRADE, RESTED, CANCELLED, EXPIRED, REDUCED, AMENDED, PENDING, TRIGGERED, REFILLED,
    STATE_CHANGED, CONFIGURED, PULLED,
};

inline constexpr u8 RESTING = 1;

enum class Reason : u8 {
    NONE = 0, DUPLICATE_ORDER_ID = 1, UNKNOWN_ORDER = 2, INVALID_QUANTITY = 3, INVALID_PRICE = 4,
    INVALID_STOP_PRICE = 5, NOTIONAL_OVERFLOW = 6, MARKET_HALTED = 7, MARKET_CANCEL_ONLY = 8, MARKET_CLOSED = 9,
    POST_ONLY_WOULD_TAKE = 10, PRICE_BAND = 11, MIN_NOTIONAL = 12, MAX_OPEN_ORDERS = 13,
    INVALID_DISPLAY_QUANTITY = 15, INVALID_EXPIRY = 16, INVALID_FLAGS = 17, INVALID_COMMAND = 18,
    OUT_OF_MEMORY = 19, NO_CHANGE = 21, INVALID_LINK = 22, TRIGGERS_WAITING = 23,
    USER_REQUEST = 100, IOC_REMAINDER = 101, MARKET_REMAINDER = 102, NO_LIQUIDITY = 103, SELF_TRADE = 104,
    MAX_NOTIONAL_REACHED = 105, MAX_SLIPPAGE_REACHED = 106, MAX_FILLS_REACHED = 107, LINKED_ORDER = 108,
    DAY_END = 109, GOOD_TILL_DATE = 110, MASS_CANCEL = 111, FOK_REMAINDER = 112, ADMIN_REQUEST = 113,
    TRIGGER_REFUSED = 114, MAX_LIFE = 115,
};
inline constexpr Reason LAST_REASON = Reason::MAX_LIFE;

struct Command {
    u8 kind, side, type, time_in_force, stp, flags, state, reason;
    u32 market_id, padding;
    i64 sequence, time_us, order_number, user, price, quantity, stop_price, display, max_notional, expires_us;
    // Of an AMEND: the funds reserved for it in addition.
    i64 linked_number;
};
static_assert(sizeof(Command) == 104);

struct Event {
    u8 kind, reason, side, flags;
    u32 market_id;
    i64 sequence, order_number, other_number, price, quantity, leaves, other_leaves, priority;
};
static_assert(sizeof(Event) == 72);

// A live order, as it is hashed, dumped and restored.
struct OrderRecord {
    u8 side, type, time_in_force, stp, flags, waiting, padding[2];
    i64 order_number, user, price, quantity, leaves, stop_price, display, display_remaining, max_notional,
        spent_notional, expires_us, linked_number, priority;
};
static_assert(sizeof(OrderRecord) == 112);

struct Memory {
    i64 last_price, state, priority, price_band_ppm, max_slippage_ppm, min_notional, max_open_orders, max_fills;
    i64 rules, reached_high, reached_low, next_high, next_low;
};
static_assert(sizeof(Memory) == 104);

// What a memory's record was in version 0.1: a memory that holds no more than that has that record's hash.
struct FirstMemory {
    u8 bytes[64];
};

}  // namespace trade_engine
