# Sourced by the scripts next to it: how they reach the database from inside its own container, as MLflow's own user.
# The password goes through a private file, for everybody on the machine can read a command line.
# Over TCP, because the temporary server of the first start listens on its socket only and is not ready for anybody.
# shellcheck shell=sh

: "${MYSQL_DATABASE:?MYSQL_DATABASE is not set}" "${MYSQL_USER:?MYSQL_USER is not set}" "${MYSQL_PASSWORD:?MYSQL_PASSWORD is not set}"

umask 077
access=$(mktemp "${TMPDIR:-/tmp}/access.XXXXXX")
trap 'rm -f "$access"' EXIT
trap 'exit 1' HUP INT TERM
printf '[client]\nprotocol=TCP\nhost=127.0.0.1\nport=%s\nuser="%s"\npassword="%s"\ndefault-character-set=utf8mb4\n' \
    "${MYSQL_TCP_PORT:-3306}" "$MYSQL_USER" "$MYSQL_PASSWORD" >"$access"

# MySQL's name of a program, or MariaDB's.
program() { command -v "$1" || command -v "$2"; }
client() { "$(program mysql mariadb)" --defaults-file="$access" "$@"; }
dumper() { "$(program mysqldump mariadb-dump)" --defaults-file="$access" "$@"; }
