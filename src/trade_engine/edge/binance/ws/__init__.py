"""The WebSocket side of the face: market streams, user streams, and the API over WebSocket.

    names      what a stream's name asks for
    feeds      what each market stream shows, as groups of the hub that our own channels have, too
    tickers    what the streams of the rolling day show
    streams    a client of ``/ws`` and ``/stream``: its subscriptions
    face       who comes in at which path

Frames are encoded once for all their readers, and slow readers are served as those of our own channels are.
"""
