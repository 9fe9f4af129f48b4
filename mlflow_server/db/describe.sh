#!/bin/sh
# Describes the database in one line of JSON: version, schema revisions, and how much is in it. Revisions and counts are null
# where there is no such table yet.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/connect.sh"
query() { client --batch --skip-column-names --raw --execute "$1" "$MYSQL_DATABASE"; }
# Two steps: a pipe would hide that the database refused.
names=$(query "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
tables=" $(printf '%s' "$names" | tr '\n' ' ') "
if_there() {
    case $tables in
        *" $1 "*) query "SELECT $2 FROM $1" ;;
        *) echo null ;;
    esac
}
printf '{"database": "%s", "core": %s, "auth": %s' "$(query 'SELECT VERSION()')" \
    "$(if_there alembic_version 'JSON_QUOTE(MAX(version_num))')" "$(if_there alembic_version_auth 'JSON_QUOTE(MAX(version_num))')"
for table in experiments runs users registered_models logged_models trace_info; do
    printf ', "%s": %s' "$table" "$(if_there "$table" 'COUNT(*)')"
done
printf '}\n'
