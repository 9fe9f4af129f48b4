#!/bin/sh
# Writes the whole database to standard output as it was at one moment, while MLflow goes on working.
# The last line is "-- Dump completed": without it the dump is not whole.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/connect.sh"
# MySQL would write replication positions into the dump, which ask for rights that MLflow's user does not have.
positions=
if dumper --help 2>/dev/null | grep -q -e --set-gtid-purged; then positions=--set-gtid-purged=OFF; fi
# How new tables of this database compare text; a later upgrade must make them like those that are in the dump.
client --batch --skip-column-names --raw --execute \
    "SELECT CONCAT('ALTER DATABASE CHARACTER SET ', @@character_set_database, ' COLLATE ', @@collation_database, ';')" \
    "$MYSQL_DATABASE"
# shellcheck disable=SC2086 # no word where there is no such option
dumper --single-transaction --quick --no-tablespaces --hex-blob --skip-dump-date \
    --skip-lock-tables --max-allowed-packet=1G $positions "$MYSQL_DATABASE"
