-- How far the wallet believes an epoch: the wallet's part of the file above of this name.

-- How far above its own fence the wallet believes an epoch.
CREATE FUNCTION wallet.fence_reach() RETURNS BIGINT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 1000::BIGINT $$;

-- Whether a writer of this epoch may reserve; a higher one than ever before becomes the fence, once every reserve
-- under way has ended.  One that is too far above it is an error, and changes nothing.
CREATE OR REPLACE FUNCTION wallet.pass_fence(p_epoch BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    fence_lock CONSTANT BIGINT := 7020260001;
    seen BIGINT := (SELECT f.epoch FROM wallet.fence f);
BEGIN
    IF p_epoch > seen THEN
        IF p_epoch - wallet.fence_reach() > seen THEN
            RAISE EXCEPTION 'epoch % is too far above the fence, which is at %', p_epoch, seen USING ERRCODE = 'TE003';
        END IF;
        PERFORM pg_advisory_xact_lock(fence_lock);
        UPDATE wallet.fence SET epoch = p_epoch WHERE epoch < p_epoch;
    ELSE
        PERFORM pg_advisory_xact_lock_shared(fence_lock);
    END IF;
    RETURN p_epoch >= (SELECT f.epoch FROM wallet.fence f);
END $$;

-- Raises the fence to a writer's epoch: what came of it, and where the fence is now.
CREATE FUNCTION wallet.raise_fence(p_epoch BIGINT) RETURNS TABLE (code TEXT, epoch BIGINT) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    answer TEXT;
BEGIN
    IF p_epoch - wallet.fence_reach() > (SELECT f.epoch FROM wallet.fence f) THEN
        answer := 'EPOCH_TOO_FAR';
    ELSE
        answer := CASE WHEN wallet.pass_fence(p_epoch) THEN 'OK' ELSE 'STALE_EPOCH' END;
    END IF;
    RETURN QUERY SELECT answer, f.epoch FROM wallet.fence f;
END $$;
