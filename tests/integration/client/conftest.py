"""The API over an engine in memory, for the client too."""

from tests.integration.edge.conftest import start

__all__ = ["start"]
