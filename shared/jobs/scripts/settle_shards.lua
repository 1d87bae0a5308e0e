-- ARGV: job, most shards. Does a slice of what `begin_settling` left and returns whether there is more.
local j, most = ARGV[2], tonumber(ARGV[3])
local held = redis.call('HMGET', kjob(j), 'settle', 'settle_stage', 'settle_from', 'epoch', 'status')
local how, at, from, epoch = held[1], number(held[2], 0), held[3], number(held[4], 1)
if not how then
  redis.call('SREM', KSETTLING, j)
  return 0
end
local stages = redis.call('LRANGE', kstages(j), 0, -1)
while most > 0 and at < #stages do
  local s = stages[at + 1]
  local stage = redis.call('HMGET', kstage(j, s), 'queue', 'max_attempts')
  local q, allowance = stage[1] or 'unrouted', number(stage[2], 1)
  local page = redis.call('ZRANGEBYSCORE', kshards(j, s), from, '+inf', 'LIMIT', 0, most)
  for _, n in ipairs(page) do
    local row = redis.call('HMGET', krow(j, s, n), 'state', 'epoch', 'attempt')
    local state, before = row[1], number(row[2], 1) < epoch
    if how == 'retry' and before and (state == 'failed' or state == 'cancelled' or state == 'queued') then
      -- the attempt number goes on, so that no key of an earlier epoch is written again; only the allowance is new
      local attempt = number(row[3], 1)
      redis.call('HSET', krow(j, s, n), 'state', 'queued', 'attempt', attempt + 1, 'last_attempt', attempt + allowance,
        'epoch', epoch)
      redis.call('HDEL', krow(j, s, n), 'error', 'finished_at', 'token')
      redis.call('ZREM', ksent(q), member(j, s, n))
      enqueue(q, j, s, n)
    elseif how == 'cancel' and (state == 'queued' or (state == 'failed' and before)) then
      -- a failed shard of an earlier epoch: its retry was cancelled before it was queued
      redis.call('HSET', krow(j, s, n), 'state', 'cancelled')
      redis.call('ZREM', ksent(q), member(j, s, n))
    end
  end
  if #page < most then
    at, from = at + 1, '-inf'
    most = most - #page - 1
  else
    from = '(' .. page[#page]
    most = 0
  end
end
if at < #stages then
  redis.call('HSET', kjob(j), 'settle_stage', at, 'settle_from', from)
  return 1
end
redis.call('HDEL', kjob(j), 'settle', 'settle_stage', 'settle_from')
redis.call('SREM', KSETTLING, j)
-- wakes the orchestrator: the job may end now, or its archive must be written again
redis.call('XADD', KALL_EVENTS, 'MAXLEN', '~', 100000, '*', 'name', 'job.settled', 'job_id', j, 'stage', '', 'shard', '',
  'at', stamp(now()))
if terminal(held[5]) then redis.call('HINCRBY', KSTALE, j, 1) end
return 0
