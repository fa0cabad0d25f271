#!/bin/sh
# Installs the real peers that the tests talk to, where apt is there and this is root. Says what is missing otherwise.
set -eu

# program:Debian package
PEERS='ssh:openssh-client sshd:openssh-server rsync:rsync nginx:nginx haproxy:haproxy psql:postgresql-client openssl:openssl curl:curl
script:bsdutils expect:expect tmux:tmux swtpm:swtpm swtpm_setup:swtpm-tools promtool:prometheus systemd-analyze:systemd'

missing=''
packages=''
for peer in $PEERS; do
  program=${peer%%:*}
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1 && continue
  missing="$missing $program"
  packages="$packages ${peer#*:}"
done
# The server's programs are in no PATH.
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
  missing="$missing postgres"
  packages="$packages postgresql"
fi
# Runs the arm64 archive. A machine that cannot have it skips those tests, aloud.
extra=''
[ -e /usr/bin/qemu-aarch64-static ] || extra="$extra qemu-user-static"
[ -e /usr/aarch64-linux-gnu/lib/libstdc++.so.6 ] || extra="$extra libc6-arm64-cross libstdc++6-arm64-cross"
[ -n "$missing$extra" ] || { echo 'every peer is there'; exit 0; }

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  [ -n "$missing" ] || exit 0
  echo "missing:$missing" >&2
  echo "install the Debian packages:$packages" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# What only the extra tests need must not stop the others where no mirror answers.
apt-get update -q || [ -z "$packages" ]
# Their services are for the tests to start, not for this machine to run.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
# shellcheck disable=SC2086 -- one word for each package
[ -z "$packages" ] || apt-get install -q -y --no-install-recommends $packages
# shellcheck disable=SC2086
[ -z "$extra" ] || apt-get install -q -y --no-install-recommends $extra ||
  echo "could not install:$extra; the arm64 archive is not tested" >&2
