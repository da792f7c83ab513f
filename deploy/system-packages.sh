#!/bin/sh
# Installs missing system packages: arguments are package:program pairs, or
# package:/a/file for a package without a program. As root by apt-get; else it
# says the one line to run and fails.
set -eu
missing=
for pair in "$@"; do
  command -v "${pair#*:}" >/dev/null 2>&1 || [ -e "${pair#*:}" ] || missing="$missing ${pair%%:*}"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "lanai: the tests need:$missing" >&2
  echo "hint: sudo apt-get install -y$missing" >&2
  exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of package names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
