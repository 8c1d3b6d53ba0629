DROP TABLE cancel_timers;
DROP FUNCTION free_client_ids(UUID[], TEXT[]);
DELETE FROM api_keys WHERE secret IS NULL;
ALTER TABLE api_keys
    DROP CONSTRAINT secret_or_public_key,
    ALTER COLUMN secret SET NOT NULL,
    DROP COLUMN public_key,
    DROP COLUMN algorithm;
