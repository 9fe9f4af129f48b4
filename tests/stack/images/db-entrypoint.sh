#!/bin/sh
# Does with MariaDB what the image mysql:8.4 does: makes the database and its users on the first start, then serves in the foreground.
#
# Read from the environment, as MySQL's image does:
#   MYSQL_ROOT_PASSWORD            required; root may log in from anywhere with it
#   MYSQL_DATABASE                 a database that is made on the first start
#   MYSQL_USER, MYSQL_PASSWORD     an account with every right in that database and in no other
# Where it lives, for starts outside a container:
#   MYSQL_DATADIR        /var/lib/mysql
#   MYSQL_TCP_PORT       3306
#   MYSQL_BIND_ADDRESS   0.0.0.0
#   MYSQL_SOCKET         what MYSQL_UNIX_PORT says, else /var/run/mysqld/mysqld.sock
#   MYSQL_CNF            /etc/mysql/conf.d/mlops.cnf, read where it exists; no other configuration file is
# Arguments go to the server.
set -eu

say() { echo "db: $1" >&2; }
stop() { say "$1"; exit 1; }
# echo would read the backslashes of a password.
sql() { printf '%s\n' "$1"; }
# A value inside a quoted SQL string.
quoted() { printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/\\\\'/g"; }
# A name inside backticks.
named() { printf '%s' "$1" | sed -e "s/\`/\`\`/g"; }

data=${MYSQL_DATADIR:-/var/lib/mysql}
port=${MYSQL_TCP_PORT:-3306}
bind=${MYSQL_BIND_ADDRESS:-0.0.0.0}
socket=${MYSQL_SOCKET:-${MYSQL_UNIX_PORT:-/var/run/mysqld/mysqld.sock}}
configuration=${MYSQL_CNF:-/etc/mysql/conf.d/mlops.cnf}
PATH=$PATH:/usr/sbin:/sbin

if [ "${1:-}" = mysqld ] || [ "${1:-}" = mariadbd ]; then shift; fi
[ -n "${MYSQL_ROOT_PASSWORD:-}" ] || stop "MYSQL_ROOT_PASSWORD is not set: the database has no administrator."
mkdir -p "$data" || stop "The data folder $data cannot be made."
[ -w "$data" ] || stop "The data folder $data is not writable for user $(id -u)."

defaults=--no-defaults
if [ -r "$configuration" ]; then defaults=--defaults-file=$configuration; fi
# MariaDB refuses to run as root unless it is told to.
account=
if [ "$(id -u)" = 0 ]; then account=--user=root; fi

if [ ! -d "$data/mysql" ]; then
    say "making a new database in $data"
    # From inside: MariaDB's own script loses folders whose name has a space.
    (cd "$data" && mariadb-install-db --no-defaults ${account:+"$account"} --datadir=. --skip-test-db \
        --auth-root-authentication-method=normal --skip-name-resolve >/dev/null) \
        || stop "The data folder $data could not be filled."
    root=$(quoted "$MYSQL_ROOT_PASSWORD")
    {
        # A password may hold any character.
        sql "SET NAMES utf8mb4;"
        sql "FLUSH PRIVILEGES;"
        sql "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');"
        sql "FLUSH PRIVILEGES;"
        sql "ALTER USER 'root'@'localhost' IDENTIFIED BY '$root';"
        sql "CREATE USER 'root'@'%' IDENTIFIED BY '$root';"
        sql "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
        if [ -n "${MYSQL_DATABASE:-}" ]; then
            sql "CREATE DATABASE \`$(named "$MYSQL_DATABASE")\`;"
        fi
        if [ -n "${MYSQL_USER:-}" ] && [ -n "${MYSQL_PASSWORD:-}" ]; then
            user=$(quoted "$MYSQL_USER")
            sql "CREATE USER '$user'@'%' IDENTIFIED BY '$(quoted "$MYSQL_PASSWORD")';"
            if [ -n "${MYSQL_DATABASE:-}" ]; then
                # _ and % stand for other characters in the name of a grant.
                one=$(named "$MYSQL_DATABASE" | sed -e 's/_/\\_/g' -e 's/%/\\%/g')
                sql "GRANT ALL ON \`$one\`.* TO '$user'@'%';"
            fi
        fi
    } | mariadbd "$defaults" ${account:+"$account"} --datadir="$data" --bootstrap --skip-networking --log-warnings=0 \
        --character-set-server=utf8mb4 \
        || { rm -rf "$data/mysql"; stop "The first accounts could not be made."; }
    say "the database is ready to start"
fi

mkdir -p "$(dirname "$socket")"
# MySQL 8.4 speaks utf8mb4 unless told otherwise; MariaDB would speak latin1.
exec mariadbd "$defaults" ${account:+"$account"} --datadir="$data" --port="$port" --bind-address="$bind" \
    --socket="$socket" --pid-file="$data/db.pid" --skip-name-resolve --character-set-server=utf8mb4 "$@"
