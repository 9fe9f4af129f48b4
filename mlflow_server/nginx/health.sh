#!/bin/sh
# Says whether nginx itself answers on both of its ports; MLflow and the object store have probes of their own.
set -eu

ask() {
  case $1 in
    *:*) address=$1 ;;
    *) address=127.0.0.1:$1 ;;
  esac
  if [ "$2" = 443 ]; then name=$SERVER_NAME; else name=$SERVER_NAME:$2; fi
  # The certificate is not checked: it names the public host, and this request never leaves the machine.
  if command -v curl >/dev/null; then
    curl --silent --fail --insecure --noproxy '*' --max-time 4 --output /dev/null --header "Host: $name" \
      "https://$address/nginx-health"
  else
    wget -q -T 4 -O /dev/null --no-check-certificate --header "Host: $name" "https://$address/nginx-health"
  fi || {
    echo "nginx does not answer at $address." >&2
    exit 1
  }
}
ask "$MLFLOW_LISTEN" "$MLFLOW_PORT"
ask "$MINIO_LISTEN" "$MINIO_PORT"
