#!/usr/bin/env bash
# Installs the servers that the tests run themselves, and faketime, where Debian or Ubuntu lacks them.
# Starts no service and makes no database cluster: each test run has its own, as its own child.
# Names of further packages may be given, as `make bench` does.
set -euo pipefail

packages=(faketime docker-registry nginx-light "$@")
[ -n "${STELLA_TEST_DATABASE_URL:-}" ] || packages+=(postgresql-15)
[ -n "${STELLA_TEST_AMQP_URL:-}" ] || packages+=(rabbitmq-server)

missing=()
for package in "${packages[@]}"; do
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
    missing+=("$package")
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "The tests need ${missing[*]}. Install them by this system's own means, or set" \
    "STELLA_TEST_DATABASE_URL and STELLA_TEST_AMQP_URL to servers for tests." >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  echo "The tests need ${missing[*]}. Install what is missing by:" >&2
  echo "  sudo $(dirname "$0")/$(basename "$0")" >&2
  exit 1
fi

made=()
clean_up() { [ ${#made[@]} -eq 0 ] || rm -f "${made[@]}"; }
trap clean_up EXIT

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  made+=("$policy")
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
no_cluster=/etc/postgresql-common/createcluster.d/stella-tests.conf
mkdir -p "$(dirname "$no_cluster")"
made+=("$no_cluster")
echo 'create_main_cluster = off' >"$no_cluster"

echo "Installing ${missing[*]} (no service is started)."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
made+=("$log")
{ timeout 300 apt-get update && timeout 900 apt-get install -y --no-install-recommends "${missing[@]}"; } \
  >"$log" 2>&1 || {
  tail -n 30 "$log" >&2
  echo "Installing failed. Mend what apt-get says above, then run this again." >&2
  exit 1
}
