// The Python face of the book.  Batches run without the GIL; a second thread that uses the book meanwhile is refused.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <stdexcept>

#include "book.hpp"

namespace nb = nanobind;
using namespace trade_engine;

namespace {

constexpr std::size_t COMMANDS_WITHOUT_GIL = 64;

nb::object to_python(i128 value) {
    const i64 low = static_cast<i64>(value);
    if (low == value) return nb::int_(low);
    return (nb::int_(static_cast<i64>(value >> 64)) << nb::int_(64)) | nb::int_(static_cast<u64>(value));
}

// One market's book, guarded: it is used by one thread at a time, and not at all once a command broke off.
class PyBook {
  public:
    explicit PyBook(u32 market_id) : book_(market_id) {}

    Book& use() {
        if (busy_) throw std::runtime_error("the book is busy in another thread");
        if (broken_) throw std::runtime_error("the book broke off in the middle of a command: rebuild it");
        return book_;
    }

    nb::bytes apply(nb::bytes batch) {
        Book& book = use();
        if (batch.size() % sizeof(Command) != 0)
            throw nb::value_error("a batch must be whole records of 104 bytes");
        const std::size_t count = batch.size() / sizeof(Command);
        if (count < COMMANDS_WITHOUT_GIL) {
            run(book, batch.c_str(), count);
        } else {
            busy_ = true;
            try {
                nb::gil_scoped_release released;
                run(book, batch.c_str(), count);
            } catch (...) {
                busy_ = false;
                throw;
            }
            busy_ = false;
        }
        const std::vector<Event>& events = book.events();
        return nb::bytes(reinterpret_cast<const char*>(events.data()), events.size() * sizeof(Event));
    }

    nb::object place(i64 order_number, i64 user, u8 side, i64 price, i64 quantity, u8 type, u8 time_in_force, u8 stp,
                     u8 flags, i64 max_notional) {
        Command c{};
        c.kind = static_cast<u8>(CommandKind::PLACE);
        c.order_number = order_number;
        c.user = user;
        c.side = side;
        c.price = price;
        c.quantity = quantity;
        c.type = type;
        c.time_in_force = time_in_force;
        c.stp = stp;
        c.flags = flags;
        c.max_notional = max_notional;
        return call(c);
    }

    nb::object cancel(i64 order_number) {
        Command c{};
        c.kind = static_cast<u8>(CommandKind::CANCEL);
        c.order_number = order_number;
        return call(c);
    }

    nb::object reduce(i64 order_number, i64 quantity) {
        Command c{};
        c.kind = static_cast<u8>(CommandKind::REDUCE);
        c.order_number = order_number;
        c.quantity = quantity;
        return call(c);
    }

  private:
    void run(Book& book, const char* batch, std::size_t count) {
        book.events().clear();
        broken_ = true;
        for (std::size_t i = 0; i < count; ++i) {
            Command command;
            std::memcpy(&command, batch + i * sizeof(Command), sizeof(Command));
            book.run(command);
        }
        broken_ = false;
    }

    // Whether a per-call answer tells this event: all but what was asked for.
    static bool is_notable(const Event& event, const Command& command) {
        const auto kind = static_cast<EventKind>(event.kind);
        if (kind == EventKind::ACCEPTED || kind == EventKind::RESTED || kind == EventKind::PENDING) return false;
        if (command.kind == static_cast<u8>(CommandKind::PLACE)) return true;
        if (event.order_number != command.order_number) return true;
        return kind != EventKind::CANCELLED && kind != EventKind::REDUCED;
    }

    nb::object call(Command& command) {
        Book& book = use();
        command.market_id = book.market_id();
        book.events().clear();
        broken_ = true;
        book.run(command);
        broken_ = false;
        Py_ssize_t count = 0;
        for (const Event& event : book.events()) count += is_notable(event, command);
        PyObject* outcomes = PyTuple_New(count);
        if (outcomes == nullptr) nb::raise_python_error();
        if (count == 0) return nb::steal(outcomes);
        Py_ssize_t place = 0;
        for (const Event& event : book.events()) {
            if (!is_notable(event, command)) continue;
            const bool trade = event.kind == static_cast<u8>(EventKind::TRADE);
            const i64 number = trade ? event.other_number : event.order_number;
            nb::object outcome = nb::make_tuple(event.kind, event.reason, number, event.price, event.quantity);
            PyTuple_SET_ITEM(outcomes, place++, outcome.release().ptr());
        }
        return nb::steal(outcomes);
    }

    Book book_;
    bool busy_ = false;    // a batch runs without the GIL
    bool broken_ = false;  // a command is running, or broke off
};

nb::list depth(PyBook& self, u8 side, i64 levels) {
    nb::list answer;
    for (const auto& [key, level] : self.use().ladder(side == BUY ? BUY : SELL).levels()) {
        if (levels-- <= 0) break;
        answer.append(nb::make_tuple(level.price, to_python(level.visible), level.count));
    }
    return answer;
}

nb::list orders_at(PyBook& self, u8 side, i64 price) {
    nb::list answer;
    const Level* level = self.use().ladder(side == BUY ? BUY : SELL).at(price);
    if (level == nullptr) return answer;
    for (const Order* order = level->head; order != nullptr; order = order->next) answer.append(order->order_number);
    return answer;
}

nb::tuple walk(PyBook& self, u8 side, i64 quantity, i64 price) {
    const auto [lots, notional] = self.use().walk(side == BUY ? BUY : SELL, quantity, price);
    return nb::make_tuple(to_python(lots), to_python(notional));
}

i64 best(PyBook& self, Side side) {
    const Level* level = self.use().ladder(side).best();
    return level == nullptr ? 0 : level->price;
}

template <typename Record>
nb::bytes as_bytes(const Record* records, std::size_t count) {
    return nb::bytes(reinterpret_cast<const char*>(records), count * sizeof(Record));
}

void restore(PyBook& self, nb::bytes memory, nb::bytes orders) {
    if (memory.size() != sizeof(Memory) || orders.size() % sizeof(OrderRecord) != 0)
        throw nb::value_error("the records have the wrong size");
    Memory read;
    std::memcpy(&read, memory.c_str(), sizeof(read));
    std::vector<OrderRecord> records(orders.size() / sizeof(OrderRecord));
    if (!records.empty()) std::memcpy(records.data(), orders.c_str(), orders.size());
    const std::string problem = self.use().restore(read, records.data(), records.size());
    if (!problem.empty()) throw nb::value_error(problem.c_str());
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The C++ order book; see trade_engine.matching.native.";
    nb::class_<PyBook>(m, "Book")
        .def(nb::init<u32>(), nb::arg("market_id"))
        .def_prop_ro("market_id", [](PyBook& self) { return self.use().market_id(); })
        .def("apply", &PyBook::apply, nb::arg("commands"))
        .def("place", &PyBook::place, nb::arg("order_number"), nb::arg("user"), nb::arg("side"), nb::arg("price"),
             nb::arg("quantity"), nb::arg("order_type") = 0, nb::arg("time_in_force") = 0, nb::arg("stp") = 0,
             nb::arg("flags") = 0, nb::arg("max_notional") = 0)
        .def("cancel", &PyBook::cancel, nb::arg("order_number"))
        .def("reduce", &PyBook::reduce, nb::arg("order_number"), nb::arg("quantity"))
        .def("best_bid", [](PyBook& self) { return best(self, BUY); })
        .def("best_ask", [](PyBook& self) { return best(self, SELL); })
        .def("depth_tuples", &depth, nb::arg("side"), nb::arg("levels"))
        .def("orders_at", &orders_at, nb::arg("side"), nb::arg("price"))
        .def("walk_tuple", &walk, nb::arg("side"), nb::arg("quantity"), nb::arg("price"))
        .def("order_record",
             [](PyBook& self, i64 order_number) -> nb::object {
                 const Order* order = self.use().find(order_number);
                 if (order == nullptr) return nb::none();
                 const OrderRecord record = order->record();
                 return as_bytes(&record, 1);
             },
             nb::arg("order_number"))
        .def("order_records",
             [](PyBook& self) {
                 const std::vector<OrderRecord> records = self.use().live_orders();
                 return as_bytes(records.data(), records.size());
             })
        .def("memory_record",
             [](PyBook& self) {
                 const Memory memory = self.use().memory();
                 return as_bytes(&memory, 1);
             })
        .def("restore_records", &restore, nb::arg("memory"), nb::arg("orders"))
        .def("next_expiry", [](PyBook& self) { return self.use().next_expiry(); })
        .def("triggers_due", [](PyBook& self) { return self.use().triggers_due(); })
        .def("state_hash",
             [](PyBook& self) {
                 const u128 hash = self.use().state_hash();
                 return (nb::int_(static_cast<u64>(hash >> 64)) << nb::int_(64)) | nb::int_(static_cast<u64>(hash));
             })
        .def("problem", [](PyBook& self) { return self.use().check(); })
        .def("memory_bytes", [](PyBook& self) { return self.use().memory_bytes(); })
        .def("__len__", [](PyBook& self) { return self.use().size(); });
}
