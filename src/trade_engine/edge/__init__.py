"""What stands between clients and the engine: who calls, what he may and how often; one folder a face.

It decides nothing about orders or money and writes nothing to the database.
"""
