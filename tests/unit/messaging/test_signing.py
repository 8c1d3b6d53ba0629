"""Signatures of webhooks, held against the vector that the specification of Standard Webhooks gives."""

import base64

from trade_engine.messaging.webhooks.signing import signature_headers

KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
BODY = b'{"test": 2432232314}'


def test_the_specifications_own_vector() -> None:
    assert signature_headers([KEY], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_sign_while_one_replaces_the_other() -> None:
    both = signature_headers([b"new", KEY], "a", 1, BODY)["webhook-signature"].split(" ")
    assert both == [
        signature_headers([b"new"], "a", 1, BODY)["webhook-signature"],
        signature_headers([KEY], "a", 1, BODY)["webhook-signature"],
    ]
