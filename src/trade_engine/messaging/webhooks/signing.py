"""How a webhook is signed: HMAC-SHA256 over id, time and body, as Standard Webhooks 1.0 has it (ADR 22).

The time is that of the attempt, so that a receiver can refuse what somebody kept and sends again.  While a secret is
being changed there are two signatures, the new one first.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"


def signature_headers(keys: Sequence[bytes], message_id: str, time_s: int, body: bytes) -> dict[str, str]:
    """The headers that go with a body.

    Args:
        keys: the secrets that are good now, the newest first.
        message_id: the same whenever the same event is sent.
        time_s: seconds since 1970.
        body: the very bytes that are sent.
    """
    signed = b".".join((message_id.encode(), str(time_s).encode(), body))
    made = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    return {ID: message_id, TIMESTAMP: str(time_s), SIGNATURE: " ".join(f"v1,{each}" for each in made)}
