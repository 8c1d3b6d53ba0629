// The libFuzzer target: any bytes are a stream of commands (play.hpp).  Build and run it with native/sanitize.sh.
#include "play.hpp"

extern "C" int LLVMFuzzerTestOneInput(const trade_engine::u8* bytes, std::size_t size) {
    trade_engine::Player(bytes, size).play();
    return 0;
}
