-- API keys whose owner keeps the private key: Ed25519 and RSA.

ALTER TABLE api_keys
    ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'HMAC-SHA256' CHECK (algorithm IN ('HMAC-SHA256', 'ED25519', 'RSA')),
    ADD COLUMN public_key BYTEA CHECK (length(public_key) BETWEEN 32 AND 1000),
    ALTER COLUMN secret DROP NOT NULL,
    ADD CONSTRAINT secret_or_public_key CHECK (
        (algorithm = 'HMAC-SHA256') = (secret IS NOT NULL) AND (secret IS NULL) = (public_key IS NOT NULL));
COMMENT ON COLUMN api_keys.public_key IS 'of ED25519 and RSA: SubjectPublicKeyInfo, DER';
