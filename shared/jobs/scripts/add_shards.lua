-- ARGV: job, stage, then pairs of shard, params json. Existing shards stay as they are, so lost,
-- repeated or reordered events change nothing.
local j, s = ARGV[2], ARGV[3]
local job = redis.call('HMGET', kjob(j), 'status', 'epoch')
if not alive(job[1]) then return 0 end
local stage = redis.call('HMGET', kstage(j, s), 'closed', 'queue', 'follows')
if stage[1] == '1' then return 0 end
local added, at = 0, stamp(now())
for i = 4, #ARGV, 2 do
  local n = ARGV[i]
  if redis.call('ZADD', kshards(j, s), 'NX', n, n) == 1 then
    redis.call('HSET', krow(j, s, n), 'state', 'queued', 'attempt', 1, 'params', ARGV[i + 1], 'created_at', at)
    if job[2] ~= '1' then redis.call('HSET', krow(j, s, n), 'epoch', job[2]) end
    enqueue(stage[2], j, s, n, stage[3] == '1')
    added = added + 1
  end
end
if added > 0 then
  redis.call('HINCRBY', kstage(j, s), 'total', added)
  redis.call('HINCRBY', kstage(j, s), 'queued', added)
end
return added
