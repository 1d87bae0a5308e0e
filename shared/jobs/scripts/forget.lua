-- ARGV: job, epoch. Takes an archived job out of Redis: no reader finds it from here on.
local j = ARGV[2]
local held = redis.call('HMGET', kjob(j), 'status', 'epoch', 'settle')
if not terminal(held[1]) or held[3] then return 0 end
if held[2] ~= ARGV[3] or redis.call('HEXISTS', KSTALE, j) == 1 then return 0 end
-- a shard that still runs makes the archive stale when it ends
for _, s in ipairs(redis.call('LRANGE', kstages(j), 0, -1)) do
  if tonumber(redis.call('HGET', kstage(j, s), 'running') or 0) > 0 then return 0 end
end
redis.call('SADD', P .. 'leaving', j)
redis.call('ZREM', P .. 'jobs', j)
redis.call('UNLINK', kjob(j))
return 1
