#!/bin/sh
# The password goes into a file of memory, so that it stands in no process list.
set -eu
: "${REDIS_PASSWORD:?set SENSE_REDIS_PASSWORD in .env; make env writes one}"
umask 077
{ cat /etc/sense/redis.conf; printf 'requirepass %s\nbind 0.0.0.0 -::*\n' "$REDIS_PASSWORD"; } > /tmp/redis.conf
[ -z "${REDIS_MAXMEMORY:-}" ] || printf 'maxmemory %s\n' "$REDIS_MAXMEMORY" >> /tmp/redis.conf
exec redis-server /tmp/redis.conf
