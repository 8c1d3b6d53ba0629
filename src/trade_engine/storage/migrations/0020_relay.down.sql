DROP FUNCTION note_settlements(UUID[], BOOLEAN, TIMESTAMPTZ, TEXT[], SMALLINT[]);
DROP TABLE settlement_outbox, settlement_outbox_head, event_relay;
