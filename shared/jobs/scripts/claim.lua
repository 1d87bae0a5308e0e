-- ARGV: job, stage, shard, attempt, token, worker, lease seconds.
-- Only a queued shard with this attempt, in an active job.
local j, s, n = ARGV[2], ARGV[3], ARGV[4]
local row = krow(j, s, n)
local q = redis.call('HGET', kstage(j, s), 'queue')
if not q then return 'gone' end
local status = redis.call('HGET', kjob(j), 'status')
local held = redis.call('HMGET', row, 'state', 'attempt')
if held[1] ~= 'queued' or held[2] ~= ARGV[5] then return 'gone' end
redis.call('ZREM', ksent(q), member(j, s, n))
if not alive(status) then
  redis.call('HSET', row, 'state', 'cancelled') -- the counters say so already
  emit(j, 'shard.cancelled', s, n, '{}')
  return 'cancelled'
end
local t = now()
redis.call('HDEL', row, 'resent')
redis.call('HSET', row, 'state', 'running', 'token', ARGV[6], 'worker', ARGV[7], 'started_at', stamp(t))
redis.call('ZADD', KLEASES, t + tonumber(ARGV[8]), member(j, s, n))
redis.call('SADD', krunning(q), member(j, s, n))
move(j, s, 'queued', 'running')
redis.call('HSETNX', kstage(j, s), 'first_start', stamp(t))
if redis.call('HSETNX', kjob(j), 'started_at', stamp(t)) == 1 then
  redis.call('HSET', kjob(j), 'status', 'running')
  emit(j, 'job.running', '', '', '{}')
end
return 'ok'
