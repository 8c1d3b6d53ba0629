"""Running a role that is a service of its own, until it is told to end."""

import asyncio
import signal
import sys
from typing import Protocol

import click
import structlog

log = structlog.get_logger(__name__)


class Service(Protocol):
    """A role as a process of its own."""

    async def start(self) -> int:
        """Start it; the port that it listens on."""

    async def stop(self) -> None:
        """Stop it."""


async def run_service(service: Service, title: str, host: str) -> None:
    """Run it until SIGINT or SIGTERM.

    Args:
        service: the role.
        title: what people call it.
        host: where it listens, for people.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    port = await service.start()
    try:
        log.info("ready", port=port)
        if sys.stdout.isatty():
            base = f"http://{host}:{port}"
            lines = ("", f"  {title} is up: {base}", f"  health  {base}/health/ready", "  Ctrl-C stops it.", "")
            click.echo("\n".join(lines))
        await stopping.wait()
    finally:
        await service.stop()
