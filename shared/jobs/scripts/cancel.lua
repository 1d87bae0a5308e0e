-- ARGV: job. Queued shards are cancelled in slices; running ones learn it when they renew their lease.
local j = ARGV[2]
local status = redis.call('HGET', kjob(j), 'status')
if not status then return 'unknown' end
if not alive(status) then return status end
redis.call('HSET', kjob(j), 'status', 'cancelling')
begin_settling(j, 'cancel')
emit(j, 'job.cancelling', '', '', '{}')
return 'cancelling'
