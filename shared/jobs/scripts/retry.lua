-- ARGV: job, most active jobs of its owner (-1: any). Starts a new epoch, which runs the failed and cancelled shards
-- again; the shards follow in slices.
local j = ARGV[2]
local status = redis.call('HGET', kjob(j), 'status')
if not status then return 'unknown' end
if status ~= 'failed' and status ~= 'cancelled' then return status end
local owner = redis.call('HGET', kjob(j), 'owner_id')
if owner and owner ~= '' then
  if too_many(owner, tonumber(ARGV[3])) then return 'full' end
  redis.call('SADD', kowned(owner), j)
end
redis.call('HSET', kjob(j), 'status', 'running')
redis.call('HDEL', kjob(j), 'finished_at', 'error')
redis.call('HINCRBY', kjob(j), 'epoch', 1)
redis.call('SADD', P .. 'active', j)
begin_settling(j, 'retry')
emit(j, 'job.retried', '', '', '{}')
return 'retried'
