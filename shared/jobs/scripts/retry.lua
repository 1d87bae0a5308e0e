-- ARGV: job, most jobs of its owner that are not over (-1: any). Same job, only the failed and cancelled shards, a new epoch.
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
for _, s in ipairs(redis.call('LRANGE', kstages(j), 0, -1)) do
  for _, n in ipairs(redis.call('ZRANGE', kshards(j, s), 0, -1)) do
    local state = redis.call('HGET', krow(j, s, n), 'state')
    if state == 'failed' or state == 'cancelled' then
      -- attempts go on counting, so that no key of an earlier epoch is written again; only the allowance is new
      local attempt = tonumber(redis.call('HGET', krow(j, s, n), 'attempt'))
      local allowance = tonumber(redis.call('HGET', kstage(j, s), 'max_attempts'))
      redis.call('HSET', krow(j, s, n), 'state', 'queued', 'attempt', attempt + 1, 'last_attempt', attempt + allowance)
      redis.call('HDEL', krow(j, s, n), 'error', 'finished_at', 'token')
      move(j, s, state, 'queued')
      enqueue(redis.call('HGET', kstage(j, s), 'queue'), j, s, n)
    end
  end
end
emit(j, 'job.retried', '', '', '{}')
return 'retried'
