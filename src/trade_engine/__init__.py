"""Trade Engine: orders in, trades matched, stored, settled and shown."""

__version__ = "0.1.0"
