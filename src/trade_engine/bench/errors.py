"""What keeps a measurement from coming to its end."""


class BenchError(RuntimeError):
    """A measurement cannot be made; the message says why."""
