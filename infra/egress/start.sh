#!/bin/sh
# Ports that may be asked for: 80 and 443, and those of SENSE_EGRESS_PORTS (model servers of yours on others).
set -eu
umask 077
for port in ${SENSE_EGRESS_PORTS:-}; do
  case "$port" in ''|*[!0-9]*) echo "SENSE_EGRESS_PORTS holds $port, which is no port: give numbers, with spaces between" >&2; exit 2 ;; esac
done
{ printf 'acl allowed_ports port 80 443 %s\n' "${SENSE_EGRESS_PORTS:-}"; cat /etc/sense/squid.conf; } > /tmp/squid.conf
exec squid -N -f /tmp/squid.conf
