ALTER TABLE markets
    DROP COLUMN rule_flags, DROP COLUMN reached_high_ticks, DROP COLUMN reached_low_ticks,
    DROP COLUMN next_high_ticks, DROP COLUMN next_low_ticks, DROP COLUMN min_display_ppm;
