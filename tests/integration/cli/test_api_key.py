"""`trade-engine api-key` and tokens with a private key."""

import json
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from trade_engine.cli import main


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Any:
    def command(*words: str, exit_code: int = 0, form: str = "--json") -> Any:
        env = {"TRADE_ENGINE__DATABASE__URL": database_url}
        result = CliRunner().invoke(main, [*words, "--data-dir", str(tmp_path), *([form] if form else [])], env=env)
        assert result.exit_code == exit_code, result.output
        return json.loads(result.output) if form and not exit_code else result.output

    return command


def test_a_key_is_made_listed_and_revoked(run: Any) -> None:
    user = str(uuid.uuid4())
    made = run("api-key", "create", user, "--name", "bot", "--scope", "trade", "--ip", "192.0.2.0/24")
    assert (made["scopes"], made["ip_allow_list"], len(made["secret"])) == (["trade"], ["192.0.2.0/24"], 64)
    [listed] = run("api-key", "list", user)["api_keys"]
    assert listed["key_id"] == made["key_id"]
    assert "secret" not in listed
    assert run("api-key", "revoke", made["key_id"], "--reason", "lost")["revoked_at"]
    assert "(revoked)" in run("api-key", "list", user, form="")
    assert "API_KEY_NOT_FOUND" in run("api-key", "revoke", "tek_0", "--reason", "lost", exit_code=1)
    wrong = run("api-key", "create", user, "--name", "bot", "--scope", "all", exit_code=1)
    assert "INVALID_API_KEY_TERMS" in wrong


def test_a_token_is_signed_with_a_private_key(run: Any, tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    file = tmp_path / "key.pem"
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    words = ("token", "alice", "--private-key-file", str(file), "--key-id", "one")
    token = run(*words, "--algorithm", "EdDSA")["token"]
    assert jwt.get_unverified_header(token)["kid"] == "one"
    assert jwt.decode(token, private.public_key(), algorithms=["EdDSA"])["roles"] == ["trader"]
    assert "does not fit" in run(*words, "--algorithm", "RS256", exit_code=1)
    assert "--private-key-file" in run(*words, exit_code=2)


def test_what_encrypts_secrets_is_changed_and_the_change_may_be_repeated(run: Any, tmp_path: Path) -> None:
    user, file = str(uuid.uuid4()), tmp_path / "api-keys.secret"
    run("api-key", "create", user, "--name", "bot")
    before = file.read_text().strip()
    assert run("api-key", "rotate", "--reason", "yearly") == {"encrypted_anew": 1, "webhooks": 0, "keys": 1}
    after = file.read_text().strip()
    assert after != before
    assert len(after) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    # As after a change that was cut short: both keys are there, the secret is under the old one.
    file.write_text(f"{'ab' * 32}\n{after}\n")
    assert run("api-key", "rotate", "--reason", "again", "--keep-keys") == {
        "encrypted_anew": 1,
        "webhooks": 0,
        "keys": 2,
    }
    file.write_text(f"{'ab' * 32}\n")
    assert run("api-key", "rotate", "--reason", "again") == {"encrypted_anew": 1, "webhooks": 0, "keys": 1}
    file.write_text(f"{'cd' * 32}\n")
    assert "under no key that is there" in run("api-key", "rotate", "--reason", "lost", exit_code=1)
    file.write_text("not a key\n")
    assert "64 hex digits" in run("api-key", "create", user, "--name", "bot", exit_code=1)
