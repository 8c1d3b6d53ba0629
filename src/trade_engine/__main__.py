"""``python -m trade_engine``: the same as ``trade-engine``."""

from trade_engine.cli import main

if __name__ == "__main__":
    main(prog_name="trade-engine")
