"""Configuration (SPEC 12): the options, where they come from, and what is wrong with them.

Known to the composition root and the command line only.
"""

from trade_engine.config.loader import ConfigError, load_config, markets_of, schema, shown
from trade_engine.config.schema import Config, MarketSection

__all__ = ["Config", "ConfigError", "MarketSection", "load_config", "markets_of", "schema", "shown"]
