"""SQL that compares what two tables tell of the same thing, in the ledger's checks and in verification alike."""

from typing import Final

#: Clocks of engine and database may be this far apart, and step back this far.
CLOCKS_APART: Final = "INTERVAL '1 hour'"


def sql_fields(pairs: dict[str, tuple[str, str]]) -> str:
    """An SQL expression that says in which columns two rows differ, and what they should be; '' if they agree."""
    parts = (
        f"CASE WHEN {found} IS DISTINCT FROM {expected} THEN '{name} is ' || coalesce(({found})::TEXT, 'none')"
        f" || ', should be ' || coalesce(({expected})::TEXT, 'none') END"
        for name, (found, expected) in pairs.items()
    )
    return f"concat_ws('; ', {', '.join(parts)})"
