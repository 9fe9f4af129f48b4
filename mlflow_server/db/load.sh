#!/bin/sh
# Replaces the whole database by a dump on standard input.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/connect.sh"
# Tables that the dump does not know must not stay. The database's name has no backtick: `check` sees to it.
client --execute "DROP DATABASE IF EXISTS \`$MYSQL_DATABASE\`; CREATE DATABASE \`$MYSQL_DATABASE\`"
client --max-allowed-packet=1G "$MYSQL_DATABASE"
