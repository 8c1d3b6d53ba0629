"""Say which matching core was installed; exit 1 if it is the reference book."""

from importlib.util import find_spec

if find_spec("trade_engine.matching._native") is None:
    raise SystemExit(
        "matching core: reference book (slower); with a C++20 compiler, `make reinstall` builds the native one"
    )
print("matching core: native")
