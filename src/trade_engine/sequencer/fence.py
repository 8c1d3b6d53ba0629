"""The wallet's fence and the database's epoch: they go up together, and one alone never goes down.

Asked before the epoch is bumped, so that an engine that may not write changes nothing.
"""

from trade_engine.storage.errors import RecoveryError
from trade_engine.wallet.port import FENCE_REACH, Wallet


async def check_fence(wallet: Wallet, epoch: int) -> None:
    """Make sure that the wallet will take the writer that follows ``epoch``, the database's.

    Raises:
        RecoveryError: it will not; the message says what to do.
        WalletUnavailable: it does not answer.
    """
    fence = (await wallet.raise_fence(0)).epoch
    if fence > epoch:
        raise RecoveryError(
            f"the wallet's fence is at epoch {fence}, the database's epoch is {epoch} only: the database was restored"
            " without the wallet, or somebody else raised the fence. Once you know that no other engine writes:"
            f" `trade-engine wallet fence --to {epoch} --force`, start, then `trade-engine reconcile`"
        )
    if epoch + 1 > fence + FENCE_REACH:
        raise RecoveryError(
            f"the wallet's fence is at epoch {fence}, far below the database's epoch {epoch}: the wallet is another"
            " one, or was restored without the database. Once you know that it is the right one:"
            f" `trade-engine wallet fence --to {epoch}`, start, then `trade-engine reconcile`"
        )


async def raise_fence(wallet: Wallet, epoch: int) -> None:
    """Have the wallet refuse all writers before the one of ``epoch``.

    Raises:
        RecoveryError: it refuses this one.
        WalletUnavailable: it does not answer.
    """
    fence = await wallet.raise_fence(epoch)
    if fence.code != "OK":
        raise RecoveryError(
            f"the wallet refuses the writer of epoch {epoch}: {fence.code}, its fence is at epoch {fence.epoch};"
            " another engine took over as this one started, or see `trade-engine wallet fence`"
        )
