"""Configuration (SPEC 12): the options, where they come from, and what is wrong with them.

Known to the composition root and the command line only.
"""

from trade_engine.config.errors import ConfigError
from trade_engine.config.example import example
from trade_engine.config.loader import Loaded, load, load_config, schema, shown
from trade_engine.config.markets import markets_of
from trade_engine.config.schema import Config
from trade_engine.config.usual import Note

__all__ = ["Config", "ConfigError", "Loaded", "Note", "example", "load", "load_config", "markets_of", "schema", "shown"]
