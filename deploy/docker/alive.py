#!/usr/bin/python3
"""The image's health check: status 0 if the engine beside it lives, whether it takes orders or stands by."""

import http.client
import os
import sys

_PORT = int(os.environ.get("TRADE_ENGINE__SERVER__HTTP_PORT", "8080"))

try:
    connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=2)
    connection.request("GET", "/health/live")
    sys.exit(connection.getresponse().status != http.client.OK)
except OSError as error:
    sys.exit(f"port {_PORT}: {error}")
