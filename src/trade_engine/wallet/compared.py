"""SQL that says in words in which columns two rows differ: what is found and what it should be."""


def sql_fields(pairs: dict[str, tuple[str, str]]) -> str:
    """An SQL expression that says so of columns: by name what is found and what is expected; '' if they agree."""
    parts = (
        f"CASE WHEN {found} IS DISTINCT FROM {expected} THEN '{name} is ' || coalesce(({found})::TEXT, 'none')"
        f" || ', should be ' || coalesce(({expected})::TEXT, 'none') END"
        for name, (found, expected) in pairs.items()
    )
    return f"concat_ws('; ', {', '.join(parts)})"
