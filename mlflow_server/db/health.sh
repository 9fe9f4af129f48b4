#!/bin/sh
# Says whether the database answers its user; exit status 1 when it does not.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/connect.sh"
client --connect-timeout=4 --batch --skip-column-names --execute "SELECT 1" "$MYSQL_DATABASE" >/dev/null
