// The native core's own tests, run under the sanitizers by native/sanitize.sh: structures against the standard
// library's, the extremes of the numbers, rebuilding, and random commands with every invariant demanded after each.
// What the rules are is tested from Python, on both books.
#include <limits>
#include <random>
#include <unordered_map>

#include "../fuzz/play.hpp"
#include "../src/blake2b.hpp"

using namespace trade_engine;

namespace {

constexpr i64 LARGEST = std::numeric_limits<i64>::max(), SMALLEST = std::numeric_limits<i64>::min();

Command order(i64 order_number, Side side, i64 price, i64 quantity, u8 type = LIMIT) {
    Command c{};
    c.kind = static_cast<u8>(CommandKind::PLACE);
    c.market_id = 1;
    c.sequence = c.order_number = order_number;
    c.user = 1 + (order_number & 0xff);
    c.side = side;
    c.type = type;
    c.price = price;
    c.quantity = quantity;
    return c;
}

Command to(CommandKind kind, i64 order_number, i64 quantity = 0) {
    Command c{};
    c.kind = static_cast<u8>(kind);
    c.market_id = 1;
    c.order_number = order_number;
    c.quantity = quantity;
    return c;
}

// Runs a command and gives back its events.
std::vector<Event> run(Book& book, const Command& command) {
    book.events().clear();
    book.run(command);
    const std::string problem = book.check();
    demand(problem.empty(), problem);
    return book.events();
}

bool is(const Event& event, EventKind kind, i64 order_number) {
    return event.kind == static_cast<u8>(kind) && event.order_number == order_number;
}

void flat_map_is_a_map() {
    std::mt19937_64 draw(1);
    FlatMap<i64> flat;
    std::unordered_map<i64, i64> model;
    for (int i = 0; i < 200'000; ++i) {
        const i64 key = 1 + static_cast<i64>(draw() % 700) * (i % 3 == 0 ? 1'000'003 : 1);
        const auto known = model.find(key);
        i64* found = flat.find(key);
        demand((found != nullptr) == (known != model.end()), "a key is found if it is there");
        demand(found == nullptr || *found == known->second, "a key has its value");
        if (found != nullptr && draw() % 2 == 0) {
            flat.erase(key);
            model.erase(key);
        } else if (found == nullptr) {
            flat.reserve_one();
            flat.insert(key, i);
            model[key] = i;
        }
        demand(flat.size() == model.size(), "as many keys");
    }
    u64 seen = 0;
    flat.for_each([&](i64 key, i64 value) { seen += model.at(key) == value; });
    demand(seen == model.size(), "every key is visited");
    demand(flat.find(0) == nullptr && flat.find(-5) == nullptr, "what is not positive is not there");
    flat.clear();
    demand(flat.size() == 0 && flat.find(1) == nullptr, "cleared");
}

void hash_is_blake2b() {
    const char abc[3] = {'a', 'b', 'c'};  // BLAKE2b-128 of "abc", little-endian
    const u128 hash = blake2b_128(abc);
    demand(static_cast<u64>(hash) == 0x2b8d2bc691b74acf && static_cast<u64>(hash >> 64) == 0x1678287502c90921,
           "the known hash of abc");
}

void time_priority_and_depth() {
    Book book(1);
    run(book, order(1, SELL, 100, 5));
    run(book, order(2, SELL, 100, 5));
    run(book, order(3, SELL, 102, 5));
    const std::vector<Event> events = run(book, order(4, BUY, 102, 11));
    demand(events.size() == 4, "accepted and three trades");
    for (i64 i = 0; i < 3; ++i) {
        const bool met = is(events[i + 1], EventKind::TRADE, 4) && events[i + 1].other_number == i + 1;
        demand(met, "first in time, best price first");
    }
    demand(book.size() == 1 && book.ladder(SELL).best()->price == 102, "the rest stays");
    demand(book.walk(BUY, 9, 0) == std::pair<i128, i128>(4, 408), "what a taker could get");
    demand(book.walk(SELL, 9, SMALLEST).first == 0 && book.walk(BUY, LARGEST, SMALLEST).first == 0, "any limit price");
    demand(book.ladder(SELL).at(SMALLEST) == nullptr && book.ladder(BUY).at(SMALLEST) == nullptr, "no such level");
}

void extremes_are_refused() {
    Book book(1);
    run(book, order(1, SELL, 1, MAX_VALUE));
    run(book, order(2, SELL, 1, MAX_VALUE));
    run(book, order(3, SELL, MAX_VALUE, 1));
    const u128 before = book.state_hash();
    for (const i64 wrong : {SMALLEST, SMALLEST + 1, i64{-1}, i64{0}, MAX_VALUE + 1, LARGEST}) {
        demand(is(run(book, order(9, SELL, wrong, 1))[0], EventKind::REJECTED, 9), "a wrong price");
        demand(is(run(book, order(9, SELL, 1, wrong))[0], EventKind::REJECTED, 9), "a wrong quantity");
        demand(is(run(book, order(wrong, SELL, wrong, wrong))[0], EventKind::REJECTED, wrong), "all wrong");
        for (const auto kind : {CommandKind::CANCEL, CommandKind::REDUCE, CommandKind::AMEND})
            demand(is(run(book, to(kind, wrong, wrong))[0], EventKind::REJECTED, wrong), "an unknown order");
    }
    for (const i64 wrong : {SMALLEST, i64{-1}, MAX_VALUE + 1, LARGEST}) {
        demand(is(run(book, to(CommandKind::CONFIGURE, 0, wrong))[0], EventKind::REJECTED, 0), "a wrong rule");
        demand(is(run(book, to(CommandKind::AMEND, 3, wrong))[0], EventKind::REJECTED, 3), "a wrong quantity");
    }
    demand(book.state_hash() == before, "nothing changed");
    demand(book.ladder(SELL).best()->total == static_cast<i128>(2) * MAX_VALUE, "a level of more than 64 bits");
    Command buy = order(4, BUY, 0, MAX_VALUE, MARKET);
    demand(run(book, buy).size() == 2, "the largest trade");
}

void rules_at_their_largest() {
    Book book(1);
    Command rules = to(CommandKind::CONFIGURE, 0, 1);
    rules.price = rules.stop_price = rules.display = rules.max_notional = MAX_VALUE;
    run(book, rules);
    run(book, order(1, SELL, MAX_VALUE, 1));
    run(book, order(2, BUY, MAX_VALUE, 1));
    run(book, order(3, SELL, MAX_VALUE - 1, 1));
    run(book, order(4, BUY, 0, 1, MARKET));
    demand(book.size() == 0 && book.memory().last_price == MAX_VALUE - 1, "two trades at the largest prices");
}

void a_cascade_goes_on_after_a_restart() {
    Book book(1);
    Command rules = to(CommandKind::CONFIGURE, 0);
    rules.max_notional = 2;
    rules.flags = CASCADE_BUDGET;
    run(book, rules);
    run(book, order(1, SELL, 100, 9));
    for (i64 i = 2; i <= 6; ++i) {
        Command stop = order(i, BUY, 0, 1, STOP);
        stop.stop_price = 100;
        run(book, stop);
    }
    run(book, order(7, BUY, 100, 1));
    for (i64 turn = 0; turn < 2; ++turn) {
        demand(book.triggers_due(), "stops wait for their turn");
        const std::vector<OrderRecord> records = book.live_orders();
        const Memory memory = book.memory();
        Book fresh(1);
        demand(fresh.restore(memory, records.data(), records.size()).empty(), "they are restored");
        demand(fresh.state_hash() == book.state_hash() && fresh.triggers_due(), "and wait there, too");
        const std::vector<Event> events = run(book, to(CommandKind::TRIGGER, 0)), same = run(fresh, to(CommandKind::TRIGGER, 0));
        demand(events.size() == 4 && same.size() == 4 && is(events[0], EventKind::TRIGGERED, 3 + 2 * turn),
               "two enter with each command, in order");
        demand(fresh.state_hash() == book.state_hash(), "the same after a restart");
    }
    demand(!book.triggers_due() && run(book, to(CommandKind::TRIGGER, 0)).empty(), "until none waits");
}

void rebuilding_refuses_contradictions() {
    Book book(1);
    run(book, order(1, SELL, 101, 5));
    run(book, order(2, BUY, 99, 5));
    const std::vector<OrderRecord> sound = book.live_orders();
    const auto refused = [&](auto spoil) {
        std::vector<OrderRecord> records = sound;
        Memory memory = book.memory();
        spoil(records, memory);
        Book fresh(1);
        const u128 empty = fresh.state_hash();
        demand(!fresh.restore(memory, records.data(), records.size()).empty(), "a contradiction is refused");
        demand(fresh.size() == 0 && fresh.state_hash() == empty, "and leaves the book as it was");
    };
    refused([](auto& records, Memory&) { records[0].order_number = records[1].order_number; });
    refused([](auto& records, Memory&) { records[1].price = 101; });
    refused([](auto& records, Memory&) { records[0].leaves = LARGEST; });
    refused([](auto& records, Memory&) { records[0].quantity = SMALLEST; });
    refused([](auto& records, Memory&) { records[0].priority = 7; });
    refused([](auto& records, Memory&) { records[0].linked_number = 77; });
    refused([](auto& records, Memory&) { records[0].side = 255; });
    refused([](auto&, Memory& memory) { memory.state = 4; });
    refused([](auto&, Memory& memory) { memory.rules = 2; });
    refused([](auto&, Memory& memory) { memory.reached_high = 5; });
    refused([](auto&, Memory& memory) { memory.next_high = memory.next_low = 5; });
    refused([](auto&, Memory& memory) { memory.last_price = SMALLEST; });
    demand(!book.restore(book.memory(), sound.data(), sound.size()).empty(), "only an empty book is filled");
}

void many_orders_come_and_go() {
    Book book(1);
    constexpr i64 orders = 20'000;
    for (i64 i = 1; i <= orders; ++i) book.run(order(i, i % 2 ? SELL : BUY, i % 2 ? 10'000 + i % 977 : 1 + i % 977, i));
    demand(book.check().empty() && book.size() == orders, "all rest");
    for (i64 i = 1; i <= orders; ++i) book.run(to(CommandKind::CANCEL, i * 7919 % orders + 1));
    demand(book.check().empty() && book.size() == 0, "all are gone");
    Book fresh(1);
    const Memory memory = book.memory();
    demand(fresh.restore(memory, nullptr, 0).empty() && fresh.state_hash() == book.state_hash(), "no trace in the hash");
}

void random_commands_keep_every_invariant() {
    std::mt19937_64 draw(20'26);
    for (int game = 0; game < 60; ++game) {
        std::vector<u8> bytes(3'000);
        for (u8& byte : bytes) byte = static_cast<u8>(draw());
        Player(bytes.data(), bytes.size()).play();
    }
}

}  // namespace

int main() {
    const struct {
        const char* name;
        void (*test)();
    } tests[] = {
        {"the flat map is a map", flat_map_is_a_map},
        {"the hash is BLAKE2b", hash_is_blake2b},
        {"time priority and depth", time_priority_and_depth},
        {"extremes are refused", extremes_are_refused},
        {"rules at their largest", rules_at_their_largest},
        {"a cascade goes on after a restart", a_cascade_goes_on_after_a_restart},
        {"rebuilding refuses contradictions", rebuilding_refuses_contradictions},
        {"many orders come and go", many_orders_come_and_go},
        {"random commands keep every invariant", random_commands_keep_every_invariant},
    };
    for (const auto& [name, test] : tests) {
        std::fprintf(stderr, "%s\n", name);
        test();
    }
    std::fprintf(stderr, "native core: %zu tests passed\n", std::size(tests));
}
