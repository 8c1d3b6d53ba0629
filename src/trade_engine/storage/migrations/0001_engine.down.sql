DROP FUNCTION create_partitions;
DROP TABLE journal, settlement_instructions, trades, client_orders, orders, traders, markets, engine_state;
DROP FUNCTION at_us, uuid7_floor;
DROP TYPE instruction_status_enum, instruction_kind_enum, fee_asset_enum, market_state_enum, settlement_status_enum,
    order_status_enum, self_trade_prevention_enum, time_in_force_enum, order_type_enum, side_enum;
