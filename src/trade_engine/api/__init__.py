"""REST API: decodes, authenticates and limits requests, hands them to the engine, and shows its answers (SPEC 7).

It decides nothing about orders or money and writes nothing to the database.
"""
