-- ARGV: most, error json for a lease that ran out. Only this script moves an expired shard. One that cannot be read harms
-- only its job, which the orchestrator ends.
local expired = redis.call('ZRANGEBYSCORE', KLEASES, '-inf', now(), 'LIMIT', 0, tonumber(ARGV[2]))
local moved = {}
local function move_on(m)
  local j, s, n = split(m)
  local row, stage = krow(j, s, n), kstage(j, s)
  local q = redis.call('HGET', stage, 'queue')
  local state = redis.call('HGET', row, 'state')
  check_state(j, s, n, state)
  if q and state == 'running' then
    redis.call('SREM', krunning(q), m)
    local told = redis.call('HGET', row, 'token') == ''
    redis.call('HDEL', row, 'token')
    free_device(j, s)
    if not told then redis.call('HSET', row, 'error', ARGV[3]) end
    local attempt = tonumber(redis.call('HGET', row, 'attempt'))
    local status = redis.call('HGET', kjob(j), 'status')
    if not alive(status) then
      set_state(j, s, n, 'cancelled')
      move(j, s, 'running', 'cancelled')
      emit(j, 'shard.cancelled', s, n, '{}')
    elseif attempt >= tonumber(redis.call('HGET', row, 'last_attempt') or redis.call('HGET', stage, 'max_attempts')) then
      set_state(j, s, n, 'failed')
      redis.call('HSET', row, 'finished_at', stamp(now()))
      redis.call('HSETNX', stage, 'first_failed', n)
      move(j, s, 'running', 'failed')
      emit(j, 'shard.failed', s, n, redis.call('HGET', row, 'error') or '{}')
    else
      set_state(j, s, n, 'queued')
      redis.call('HSET', row, 'attempt', attempt + 1)
      move(j, s, 'running', 'queued')
      enqueue(q, j, s, n)
      emit(j, 'shard.requeued', s, n, redis.call('HGET', row, 'error') or '{}')
    end
    table.insert(moved, m)
  end
end
for _, m in ipairs(expired) do
  redis.call('ZREM', KLEASES, m)
  local ok, why = pcall(move_on, m)
  if not ok then damaged(split(m) or m, why) end
end
return moved
