#!/bin/sh
# Starts PgBouncer with one user, whose password comes from the environment or from the file that PGBOUNCER_PASSWORD_FILE names.
set -eu
if [ -n "${PGBOUNCER_PASSWORD_FILE:-}" ]; then
    PGBOUNCER_PASSWORD=$(cat "$PGBOUNCER_PASSWORD_FILE")
fi
: "${PGBOUNCER_PASSWORD:?the password of trade_engine at PostgreSQL}"
umask 077
# A quote in a password is written twice.
printf '"trade_engine" "%s"\n' "$(printf %s "$PGBOUNCER_PASSWORD" | sed 's/"/""/g')" >/run/trade-engine-pgbouncer/userlist.txt
unset PGBOUNCER_PASSWORD
exec pgbouncer /etc/trade-engine/pgbouncer.ini
