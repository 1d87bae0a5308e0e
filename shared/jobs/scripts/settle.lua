-- ARGV: job, stage, shard, token, how, outputs json, counts json, error json, event name, event data, backoff
-- how: done | failed | retry | back | cancelled. The shard, the counters and the event, all in one step.
local j, s, n = ARGV[2], ARGV[3], ARGV[4]
local row = krow(j, s, n)
if redis.call('HGET', row, 'token') ~= ARGV[5] or redis.call('HGET', row, 'state') ~= 'running' then return 'lost' end
local how, q = ARGV[6], redis.call('HGET', kstage(j, s), 'queue')
local t = now()
-- a retry may have come in between: the job is active again, and so is its shard
local status = redis.call('HGET', kjob(j), 'status')
if how == 'cancelled' and alive(status) then how = 'back' end
-- nothing is queued in a finished job
if how == 'back' and not alive(status) then how = 'cancelled' end
if how == 'retry' then
  -- only the reaper moves a shard on: the lease ends after the pause, and the reaper counts the attempt
  redis.call('HSET', row, 'token', '', 'error', ARGV[9])
  redis.call('ZADD', KLEASES, t + tonumber(ARGV[12]), member(j, s, n))
  redis.call('SREM', krunning(q), member(j, s, n))
  free_device(j, s)
  emit(j, 'shard.retrying', s, n, ARGV[9])
  return 'ok'
end
redis.call('ZREM', KLEASES, member(j, s, n))
redis.call('SREM', krunning(q), member(j, s, n))
redis.call('HDEL', row, 'token')
free_device(j, s)
if how == 'done' then
  redis.call('HSET', row, 'state', 'done', 'outputs', ARGV[7], 'counts', ARGV[8], 'finished_at', stamp(t))
  redis.call('HDEL', row, 'error')
  move(j, s, 'running', 'done')
  redis.call('SADD', kdone(j, s), n)
  for name, count in pairs(cjson.decode(ARGV[8])) do redis.call('HINCRBY', kstage(j, s), 'count:' .. name, count) end
  redis.call('HSET', kstage(j, s), 'last_end', stamp(t))
  local frees = redis.call('HGET', kstage(j, s), 'frees')
  if frees and frees ~= '' and redis.call('GET', kdevice(frees)) == j then redis.call('DEL', kdevice(frees)) end
  emit(j, ARGV[10], s, n, ARGV[11])
elseif how == 'failed' then
  set_state(j, s, n, 'failed')
  redis.call('HSET', row, 'error', ARGV[9], 'finished_at', stamp(t))
  redis.call('HSETNX', kstage(j, s), 'first_failed', n)
  move(j, s, 'running', 'failed')
  emit(j, 'shard.failed', s, n, ARGV[9])
elseif how == 'cancelled' then
  set_state(j, s, n, 'cancelled')
  redis.call('HSET', row, 'finished_at', stamp(t))
  move(j, s, 'running', 'cancelled')
  emit(j, 'shard.cancelled', s, n, '{}')
else
  set_state(j, s, n, 'queued')
  move(j, s, 'running', 'queued')
  enqueue(q, j, s, n, true)
  emit(j, 'shard.returned', s, n, '{}')
end
return 'ok'
