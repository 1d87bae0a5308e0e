-- ARGV: job. Queued rows are cancelled here; running ones learn it from their next renewal.
local j = ARGV[2]
local status = redis.call('HGET', kjob(j), 'status')
if not status then return 'unknown' end
if status ~= 'queued' and status ~= 'running' then return status end
redis.call('HSET', kjob(j), 'status', 'cancelling')
for _, s in ipairs(redis.call('LRANGE', kstages(j), 0, -1)) do
  for _, n in ipairs(redis.call('ZRANGE', kshards(j, s), 0, -1)) do
    if redis.call('HGET', krow(j, s, n), 'state') == 'queued' then
      redis.call('HSET', krow(j, s, n), 'state', 'cancelled')
      move(j, s, 'queued', 'cancelled')
      redis.call('ZREM', ksent(redis.call('HGET', kstage(j, s), 'queue')), member(j, s, n))
    end
  end
end
emit(j, 'job.cancelling', '', '', '{}')
return 'cancelling'
