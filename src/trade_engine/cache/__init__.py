"""What several processes share and may lose: Redis behind the ports of the API.

Nothing here is the truth about anything; without Redis the engine goes on.
"""
