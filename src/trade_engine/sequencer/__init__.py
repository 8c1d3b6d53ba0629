"""The one way an order takes through the engine: admit, stamp, match, commit, acknowledge.

``admission`` reserves funds, ``pipeline`` holds the steps in order, ``commit`` is the only place that writes,
``recovery`` brings memory back from the database, ``service`` is what the API calls.
"""
