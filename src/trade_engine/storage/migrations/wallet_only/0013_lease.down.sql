DROP FUNCTION wallet.raise_fence(BIGINT);

CREATE OR REPLACE FUNCTION wallet.pass_fence(p_epoch BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    fence_lock CONSTANT BIGINT := 7020260001;
BEGIN
    IF p_epoch > (SELECT f.epoch FROM wallet.fence f) THEN
        PERFORM pg_advisory_xact_lock(fence_lock);
        UPDATE wallet.fence SET epoch = p_epoch WHERE epoch < p_epoch;
    ELSE
        PERFORM pg_advisory_xact_lock_shared(fence_lock);
    END IF;
    RETURN p_epoch >= (SELECT f.epoch FROM wallet.fence f);
END $$;

DROP FUNCTION wallet.fence_reach();
