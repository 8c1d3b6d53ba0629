#!/bin/sh
# Test the native core under AddressSanitizer and UndefinedBehaviorSanitizer, then fuzz it (clang only).
# Usage: [FUZZ_SECONDS=60] native/sanitize.sh
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out="$root/build/sanitize"
core="$root/native/src/book.cpp $root/native/src/book_state.cpp $root/native/src/checks.cpp
      $root/native/src/recovery.cpp $root/native/src/taker.cpp $root/native/src/triggers.cpp"
flags="-std=c++20 -O1 -g -Wall -Wextra -fno-omit-frame-pointer -fno-sanitize-recover=all"
mkdir -p "$out"

if command -v clang++ >/dev/null; then compiler=clang++
elif command -v g++ >/dev/null; then compiler=g++
else
    echo "sanitize: no C++ compiler: install clang (tests and fuzzing) or g++ (tests)" >&2
    exit 1
fi
echo "sanitize: tests of the native core, $compiler, address and undefined behaviour"
# shellcheck disable=SC2086
$compiler $flags -fsanitize=address,undefined $core "$root/native/tests/book_tests.cpp" -o "$out/book_tests"
"$out/book_tests"

if [ "$compiler" != clang++ ]; then
    echo "sanitize: not fuzzed: libFuzzer needs clang (Debian: clang and libclang-rt-dev)" >&2
    exit 0
fi
seconds=${FUZZ_SECONDS:-60}
echo "sanitize: fuzzing for $seconds s; a failing input is written to $out"
# shellcheck disable=SC2086
$compiler $flags -fsanitize=fuzzer,address,undefined $core "$root/native/fuzz/book_fuzz.cpp" -o "$out/book_fuzz"
mkdir -p "$out/corpus"
if "$out/book_fuzz" -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 -verbosity=1 \
    -print_funcs=0 -print_final_stats=1 -artifact_prefix="$out/" "$out/corpus" >"$out/fuzz.log" 2>&1; then
    grep "^stat::number_of\|^stat::average\|^stat::peak" "$out/fuzz.log"
    echo "sanitize: nothing found"
else
    tail -40 "$out/fuzz.log"
    echo "sanitize: the fuzzer found the above; the log is $out/fuzz.log" >&2
    exit 1
fi
