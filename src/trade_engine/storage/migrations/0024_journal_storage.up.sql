-- Commands and events are packed records: compressing them costs every commit more than it saves on disk.
ALTER TABLE journal ALTER COLUMN commands SET STORAGE EXTERNAL, ALTER COLUMN events SET STORAGE EXTERNAL,
    ALTER COLUMN facts SET STORAGE EXTERNAL;
