"""The chain of batches: hashes, facts, times, epochs and the engine's counters, row by row."""

from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec

from trade_engine.domain.commands import COMMAND_SIZE, decode_commands
from trade_engine.sequencer.bookkeeping import Changes, WalletInstruction
from trade_engine.sequencer.facts import BatchFacts, GivenFact, decode_facts, given_facts, uuid_text
from trade_engine.sequencer.journal import chain
from trade_engine.sequencer.verify.anchor import Anchor
from trade_engine.sequencer.verify.report import Report
from trade_engine.sequencer.verify.told import ToldMoves


class Chain:
    """Follows the journal's rows and holds ``engine_state`` against their end."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._state: Mapping[str, Any] = {}
        self._previous_hash = b""
        self._state_hash: bytes | None = None
        self._next = 1
        self._stamped_us = 0
        self._epoch = 0
        self._first_facts = 0
        #: The last instruction's number; None while it is not known.
        self._instruction_id: int | None = None
        self._instructions = 0
        #: The table of candles is known to hold every trade up to this one.
        self.candles = 0

    def begin(self, state: asyncpg.Record | None, anchor: Anchor | None = None) -> None:
        """Take the row of ``engine_state``, and go on from an anchor if there is one."""
        if state is None:
            self._report.differ("chain", "engine_state is empty")
            return
        self._state = dict(state)
        if state["facts_since"] == 1:
            self._instruction_id = 0
        if anchor is not None:
            self._previous_hash, self._state_hash = anchor.journal_hash, anchor.state_hash
            self._next, self._stamped_us, self._epoch = anchor.sequence + 1, anchor.stamped_us, anchor.epoch
            self._first_facts, self.candles = anchor.first_facts, anchor.candles
            self._instruction_id, self._instructions = anchor.instruction_id, anchor.instructions

    def place(self, anchor: Anchor) -> None:
        """Note in an anchor how far the chain was followed."""
        anchor.sequence, anchor.journal_hash, anchor.state_hash = self._next - 1, self._previous_hash, self._state_hash
        anchor.stamped_us, anchor.epoch = self._stamped_us, self._epoch
        anchor.first_facts, anchor.candles = self._first_facts, self.candles
        anchor.instruction_id, anchor.instructions = self._instruction_id, self._instructions

    def follow(self, row: asyncpg.Record) -> BatchFacts | None:
        """Check one row; its facts, if it has any that can be read."""
        first, last = row["first_sequence"], row["last_sequence"]
        digest = chain(
            row["previous_hash"], first, last, row["state_hash"], row["commands"], row["events"], row["facts"]
        )
        if row["previous_hash"] != self._previous_hash:
            self._differ("chain", f"batch {first}-{last} does not follow the one before it")
        if digest != row["hash"]:
            self._differ("chain", f"batch {first}-{last} does not have the hash of what it holds")
        if first != self._next:
            self._differ("chain", f"batch {first}-{last} should begin at {self._next}")
        stamped_us, epoch = microseconds_of(row["stamped_at"]), row["epoch"]
        self._equal("chain", f"batch {first}-{last}", "epoch", epoch, max(epoch, self._epoch))
        self._equal("chain", f"batch {first}-{last}", "stamped_at", stamped_us, max(stamped_us, self._stamped_us))
        for command in decode_commands(row["commands"][:COMMAND_SIZE]):
            self._equal("chain", f"batch {first}-{last}", "stamped_at", stamped_us, command.time_us)
        self._previous_hash, self._next, self._epoch, self._stamped_us = row["hash"], last + 1, epoch, stamped_us
        self._state_hash = row["state_hash"]
        return self._facts(row, f"batch {first}-{last}", stamped_us)

    def _facts(self, row: asyncpg.Record, batch: str, stamped_us: int) -> BatchFacts | None:
        if row["facts"] is None:
            since = self._state.get("facts_since", 0)
            if self._first_facts or row["last_sequence"] >= since:
                self._differ("facts", f"{batch} has none, every batch from {self._first_facts or since} on should")
            return None
        try:
            facts = decode_facts(row["facts"])
        except (ValueError, msgspec.MsgspecError) as error:
            self._differ("facts", f"{batch}: {error}")
            return None
        if not self._first_facts:
            self._first_facts = row["first_sequence"]
            self._equal("facts", "engine_state", "facts_since", self._state.get("facts_since"), self._first_facts)
            if self._instruction_id is None:
                self._instruction_id = facts.instruction_id
        self._equal("facts", batch, "since", facts.since, self._first_facts)
        self._equal("chain", batch, "epoch", row["epoch"], facts.epoch)
        self._equal("chain", batch, "stamped_at", stamped_us, facts.time_us)
        self._equal("facts", batch, "instruction_id", facts.instruction_id, self._instruction_id)
        self.candles = max(self.candles, facts.candles)
        return facts

    def tell(self, changes: Changes, facts: BatchFacts | None, told: ToldMoves) -> None:
        """Number the instructions of a replayed batch, those that its facts give among them."""
        instructions = list(changes.instructions)
        positions: set[int] = set()
        for given in facts.given if facts else ():
            if not 0 <= given.position <= len(instructions):
                self._differ("facts", f"batch before {self._next}: an instruction at {given.position}, out of place")
                continue
            instructions.insert(given.position, _instruction(given))
            positions.add(given.position)
        if facts is not None and given_facts(instructions, sorted(positions)) != list(facts.given):
            self._differ("facts", f"batch before {self._next}: its instructions are not in order")
        number = self._instruction_id
        for position, item in enumerate(instructions):
            if number is not None:
                number += 1
            told.instructed(item, number, self._stamped_us, given=position in positions)
        self._instructions += len(instructions)
        if facts is not None or self._state.get("facts_since") == 1:
            self._instruction_id = number

    def end(self, trade_sequence: int) -> None:
        """Hold ``engine_state`` against the journal's end."""
        state = self._state
        if not state:
            return
        self._report.journal_head = f"{self._next - 1} {self._previous_hash.hex()}"
        expected = {
            "sequence": self._next - 1,
            "journal_hash": self._previous_hash,
            "trade_sequence": trade_sequence,
            "clock_us": self._stamped_us,
            "epoch": max(state["epoch"], self._epoch),
            "instruction_id": max(state["instruction_id"], self._instructions),
        }
        if self._first_facts:
            expected["instruction_id"] = self._instruction_id
        if self._state_hash is not None:
            expected["state_hash"] = self._state_hash
        for field, value in expected.items():
            self._equal("chain", "engine_state", field, state[field], value)

    def _equal(self, what: str, where: str, field: str, found: object, expected: object) -> None:
        if found != expected:
            shown = [value.hex() if isinstance(value, bytes) else value for value in (found, expected)]
            self._differ(what, f"{where}: {field} is {shown[0]}, should be {shown[1]}")

    def _differ(self, what: str, message: str) -> None:
        self._report.differ(what, message)


def _instruction(given: GivenFact) -> WalletInstruction:
    order_id, user_id = uuid_text(given.order_id), uuid_text(given.user_id)
    return WalletInstruction("RELEASE", None, order_id, user_id, given.asset, given.amount, given.reason)


def microseconds_of(moment: Any) -> int:
    """A TIMESTAMPTZ as microseconds since 1970."""
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + int(moment.microsecond)
