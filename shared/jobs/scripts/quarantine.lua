-- ARGV: job, error json, days to keep the renamed keys, queues. Fails a job that cannot be ended otherwise: keys of the
-- wrong type are renamed, missing fields of its record are filled in.
local j = ARGV[2]
local function aside(key, kind)
  local found = redis.call('TYPE', key).ok
  if found == 'none' or found == kind then return end
  local other = P .. 'aside:' .. string.sub(key, #P + 1)
  redis.call('RENAME', key, other)
  redis.call('EXPIRE', other, tonumber(ARGV[4]) * 86400)
end
redis.call('HDEL', KDAMAGED, j)
if redis.call('EXISTS', kjob(j)) == 0 then
  redis.call('SREM', P .. 'active', j)
  return 0
end
aside(kjob(j), 'hash')
aside(kstages(j), 'list')
aside(kevents(j), 'stream')
for _, s in ipairs(redis.call('LRANGE', kstages(j), 0, -1)) do
  aside(kstage(j, s), 'hash')
  aside(kshards(j, s), 'zset')
  aside(kdone(j, s), 'set')
  give_back_device(j, s)
end
for i = 5, #ARGV do
  for _, m in ipairs(redis.call('SMEMBERS', krunning(ARGV[i]))) do
    if split(m) == j then redis.call('SREM', krunning(ARGV[i]), m) end
  end
  for _, m in ipairs(redis.call('ZRANGE', ksent(ARGV[i]), 0, -1)) do
    if split(m) == j then redis.call('ZREM', ksent(ARGV[i]), m) end
  end
end
redis.call('SREM', P .. 'active', j)
local status = redis.call('HGET', kjob(j), 'status')
if status == 'succeeded' or status == 'failed' or status == 'cancelled' then return 0 end
for field, value in pairs({id = j, kind = 'unknown', name = j, spec = '{}'}) do
  redis.call('HSETNX', kjob(j), field, value)
end
for field, value in pairs({created_at = stamp(now()), epoch = '1'}) do
  if not tonumber(redis.call('HGET', kjob(j), field) or '') then redis.call('HSET', kjob(j), field, value) end
end
if not tonumber(redis.call('HGET', kjob(j), 'started_at') or '0') then redis.call('HDEL', kjob(j), 'started_at') end
redis.call('ZADD', P .. 'jobs', 'NX', now(), j)
-- a job that is being cancelled ends as cancelled
local ended = status == 'cancelling' and 'cancelled' or 'failed'
redis.call('HSET', kjob(j), 'status', ended, 'finished_at', stamp(now()), 'error', ARGV[3])
emit(j, 'job.' .. ended, '', '', ARGV[3])
return 1
