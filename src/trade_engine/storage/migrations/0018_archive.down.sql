-- Archived partitions have to be restored before: what is in files is lost to a schema that does not know of them.

DO $$ BEGIN
    IF EXISTS (SELECT FROM archived_partitions WHERE restored_at IS NULL) THEN
        RAISE EXCEPTION 'restore the archived partitions first: `trade-engine partitions restore`';
    END IF;
END $$;
DROP FUNCTION monitoring.archive_old_partitions(INTEGER);
DROP FUNCTION drop_emptied_partition(TEXT);
DROP FUNCTION detach_partition(TEXT);
DROP FUNCTION archivable_partitions(TIMESTAMPTZ);
DROP FUNCTION partition_span(TEXT);
DROP TABLE archived_partitions, anchors;
DELETE FROM chain_heads WHERE chain = 'archive' AND number = 0;
