"""`trade-engine wallet`: the wallet as a service of its own."""

import asyncio
import signal
import sys
from pathlib import Path

import click
import uvloop

from trade_engine.bootstrap import embedded_settings, jwt_secret
from trade_engine.bootstrap_wallet import WalletService
from trade_engine.cli.options import config_option, configure, data_dir_option, explained
from trade_engine.ops.logging import configure_logging


@click.command("wallet")
@data_dir_option
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port; 0 picks a free one.")
def wallet_command(data_dir: Path, config_file: Path | None, host: str | None, port: int | None) -> None:
    """Run the wallet service until SIGINT or SIGTERM."""
    with explained():
        config = configure(config_file, wallet__host=host, wallet__port=port)
        configure_logging(config.logging.level, config.logging.format)
        secret = jwt_secret(config, data_dir)
        service = WalletService(config, data_dir, embedded_settings(config), secret)
        uvloop.run(_serve(service, config.wallet.host))


async def _serve(service: WalletService, host: str) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    port = await service.start()
    try:
        base = f"http://{host}:{port}"
        lines = (
            "",
            f"  Wallet service is up: {base}",
            f"  API description  {base}/openapi.json",
            "  Ctrl-C stops it.",
            "",
        )
        click.echo("\n".join(lines), err=not sys.stdout.isatty())
        await stopping.wait()
    finally:
        await service.stop()
