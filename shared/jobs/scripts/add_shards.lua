-- ARGV: job, stage, then pairs of shard, params json. Rows that exist are left as they are: lost, repeated or
-- reordered facts change nothing.
local j, s = ARGV[2], ARGV[3]
local status = redis.call('HGET', kjob(j), 'status')
if status ~= 'queued' and status ~= 'running' then return 0 end
if redis.call('HGET', kstage(j, s), 'closed') == '1' then return 0 end
local q = redis.call('HGET', kstage(j, s), 'queue')
local added = 0
for i = 4, #ARGV, 2 do
  local n = ARGV[i]
  if redis.call('ZADD', kshards(j, s), 'NX', n, n) == 1 then
    redis.call('HSET', krow(j, s, n), 'state', 'queued', 'attempt', 1, 'params', ARGV[i + 1], 'created_at', stamp(now()))
    move(j, s, '', 'total')
    move(j, s, '', 'queued')
    enqueue(q, j, s, n, redis.call('HGET', kstage(j, s), 'follows') == '1')
    added = added + 1
  end
end
return added
