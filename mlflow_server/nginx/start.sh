#!/bin/sh
# Starts nginx from its environment alone: checks every variable, renders the templates, tests the result, runs it.
#
# It needs sh, awk, envsubst and nginx (1.22 or newer), runs as any user, and writes below $NGINX_WORK only.
set -eu
umask 077
templates=$(cd "$(dirname "$0")" && pwd)/templates

refuse() {
  echo "nginx: $*" >&2
  exit 1
}

line_end='
'
# Every variable, and what it may hold: the values end up in nginx's own configuration language.
require() {
  eval "value=\${$1-}"
  [ -n "$value" ] || refuse "$1 is not set: run ./mlops-server init, which writes it into .env."
  case $value in
    change-me*) refuse "$1 still has its example value: run ./mlops-server init, or write the real one into .env." ;;
  esac
  case $value in
    *"$line_end"*) refuse "$1 has more than one line: it must be $3." ;;
  esac
  echo "$value" | grep -Eqx "$2" || refuse "$1 is \"$value\", which is not $3."
}
port='[1-9][0-9]{0,4}'
require SERVER_NAME '[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?' "the name of a machine, such as mlflow.hospital.example"
require MLFLOW_PORT "$port" "a port"
require MINIO_PORT "$port" "a port"
require MLFLOW_LISTEN "([0-9.]+:)?$port" "a port, or an address and a port such as 127.0.0.1:8085"
require MINIO_LISTEN "([0-9.]+:)?$port" "a port, or an address and a port such as 127.0.0.1:8002"
require MLFLOW_UPSTREAM "[A-Za-z0-9_.-]+:$port" "a machine and a port such as mlflow:5000"
require MINIO_UPSTREAM "[A-Za-z0-9_.-]+:$port" "a machine and a port such as objects:9000"
require NGINX_WORK '/[A-Za-z0-9_./-]+' "the full path of a folder (letters, digits, _ . -)"
require TLS_CERTIFICATE '/[A-Za-z0-9_./-]+' "the full path of a file (letters, digits, _ . -)"
require TLS_KEY '/[A-Za-z0-9_./-]+' "the full path of a file (letters, digits, _ . -)"

for program in nginx envsubst awk; do
  command -v "$program" >/dev/null || refuse "the program $program is missing in this image: take an official nginx image."
done
for file in "$TLS_CERTIFICATE" "$TLS_KEY"; do
  [ -f "$file" ] || refuse "there is no file $file (TLS_CERTIFICATE, TLS_KEY): run ./mlops-server init."
  [ -r "$file" ] || refuse "user $(id -u) may not read $file (TLS_CERTIFICATE, TLS_KEY): give it to MLOPS_UID."
done

# A browser and every client leave the port out of the Host header where it is the usual one.
name=$(echo "$SERVER_NAME" | tr '[:upper:]' '[:lower:]')
# shellcheck disable=SC2153  # require has seen to MLFLOW_PORT and MINIO_PORT
MLFLOW_HOST=$name:$MLFLOW_PORT
MLFLOW_HOST=${MLFLOW_HOST%:443}
# shellcheck disable=SC2153
MINIO_HOST=$name:$MINIO_PORT
MINIO_HOST=${MINIO_HOST%:443}

# nginx asks DNS again while it runs, so a restarted container is found at its new address; but it never reads
# /etc/hosts, as every other program does. Such a name is replaced by its address here.
numbered() {
  host=${1%:*}
  known=$(awk -v host="$host" '$1 ~ /^[0-9.]+$/ { for (i = 2; i <= NF; i++) if ($i == host) { print $1; exit } }' /etc/hosts)
  echo "${known:-$host}:${1##*:}"
}
MLFLOW_UPSTREAM=$(numbered "$MLFLOW_UPSTREAM")
MINIO_UPSTREAM=$(numbered "$MINIO_UPSTREAM")
# The first DNS server only: nginx would ask them all in turn, and podman lists this machine's own, which know no containers.
server=$(awk '$1 == "nameserver" && $2 !~ /%/ { print ($2 ~ /:/) ? "[" $2 "]" : $2; exit }' /etc/resolv.conf)
RESOLVER=""
if [ -n "$server" ]; then
  RESOLVER="resolver $server valid=5s ipv6=off;"
elif echo "${MLFLOW_UPSTREAM%:*}${MINIO_UPSTREAM%:*}" | grep -q '[^0-9.]'; then
  refuse "/etc/resolv.conf names no DNS server, so $MLFLOW_UPSTREAM and $MINIO_UPSTREAM cannot be found."
fi

# Workers that changed to another user could not read what is rendered here; in production nobody is root.
RUN_AS=""
[ "$(id -u)" -ne 0 ] || RUN_AS="user root;"

mkdir -p "$NGINX_WORK" 2>/dev/null || refuse "user $(id -u) cannot make the folder $NGINX_WORK (NGINX_WORK)."
[ -w "$NGINX_WORK" ] || refuse "user $(id -u) may not write into $NGINX_WORK (NGINX_WORK)."
# A socket is named relative to this folder, because its full path may be longer than a socket's name can be.
cd "$NGINX_WORK"
rm -f login.sock
mkdir -p conf
export MLFLOW_HOST MINIO_HOST MLFLOW_UPSTREAM MINIO_UPSTREAM RESOLVER RUN_AS
# shellcheck disable=SC2016  # envsubst wants the names themselves
names='$MLFLOW_HOST $MINIO_HOST $MLFLOW_LISTEN $MINIO_LISTEN $MLFLOW_UPSTREAM $MINIO_UPSTREAM
  $NGINX_WORK $TLS_CERTIFICATE $TLS_KEY $RESOLVER $RUN_AS'
for template in "$templates"/*.conf; do
  rendered=conf/${template##*/}
  envsubst "$names" <"$template" >"$rendered"
done

test_only=${1-}
set -- nginx -e stderr -p "$NGINX_WORK" -c "$NGINX_WORK/conf/nginx.conf"
if ! complaint=$("$@" -t -q 2>&1); then
  case $complaint in
    *"key values mismatch"*) refuse "TLS_KEY $TLS_KEY does not belong to TLS_CERTIFICATE $TLS_CERTIFICATE." ;;
    *"\"$TLS_CERTIFICATE\""*) refuse "TLS_CERTIFICATE $TLS_CERTIFICATE holds no certificate that can be read." ;;
    *"\"$TLS_KEY\""*) refuse "TLS_KEY $TLS_KEY holds no private key that can be read." ;;
    *) refuse "$(echo "$complaint" | tr '\n' ' ')" ;;
  esac
fi
[ "$test_only" != --test ] || exit 0
exec "$@"
