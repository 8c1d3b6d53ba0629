#!/bin/sh
# Build the native core in place, for tests and benches of a checkout: src/trade_engine/matching/_native*.so.
# Usage: native/build.sh [python]
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
cmake -S "$root" -B "$root/build/native" -DPython_EXECUTABLE="$(command -v "$python")" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$root/build/native" --parallel 2
cp "$root"/build/native/_native*.so "$root/src/trade_engine/matching/"
