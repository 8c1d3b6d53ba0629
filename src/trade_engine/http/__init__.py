"""The HTTP server under every face, the wallet and the metrics: sockets, bounds and addresses.

It knows no route and nothing of the engine.
"""
