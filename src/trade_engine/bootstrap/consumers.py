"""Wiring of what consumes events in the process of the whole engine: the wallet's cross-check, and webhooks."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from trade_engine.bootstrap.cross_check import start_cross_check
from trade_engine.bootstrap.database import Run
from trade_engine.bootstrap.webhooks import start_notifier
from trade_engine.config import Config
from trade_engine.ops.metrics import Reading


async def start_consumers(
    config: Config, urls: tuple[str, str], data_dir: Path, stack: contextlib.AsyncExitStack, run: Run
) -> Callable[[], Iterable[Reading]]:
    """Start those that the configuration wants; what the metrics read of them.

    Args:
        config: all options; RabbitMQ is configured.
        urls: of the engine's database, and of it past any pooler.
        data_dir: of the engine.
        stack: closes what is opened.
        run: runs their tasks.
    """
    url, direct_url = urls
    # A wallet elsewhere looks for itself.
    is_ours = config.wallet.mode == "in_process"
    read_check = await start_cross_check(config, url, stack, run) if is_ours else tuple
    read_notifier = await start_notifier(config, direct_url, data_dir, stack, run)
    return lambda: [*read_check(), *read_notifier()]
