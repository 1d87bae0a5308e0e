-- ARGV: queue, lease seconds, most, times, error json. Shards that were not claimed within a lease go back to the head of
-- their lists, at the same attempt; those of finished jobs are only forgotten. With `times` (Celery's list is empty, so
-- a worker took the message), so many unclaimed messages in a row count as an attempt.
-- Returns how many it looked at and how many went back.
local q, times = ARGV[2], tonumber(ARGV[5])
local late = redis.call('ZRANGEBYSCORE', ksent(q), '-inf', now() - tonumber(ARGV[3]), 'LIMIT', 0, tonumber(ARGV[4]))
local count = 0
local function put_back(m)
  local j, s, n = split(m)
  local row, stage = krow(j, s, n), kstage(j, s)
  local state = redis.call('HGET', row, 'state')
  check_state(j, s, n, state)
  if state == 'queued' and alive(redis.call('HGET', kjob(j), 'status')) then
    local attempt, failed = tonumber(redis.call('HGET', row, 'attempt')), false
    if times > 0 and redis.call('HINCRBY', row, 'resent', 1) >= times then
      redis.call('HSET', row, 'error', ARGV[6])
      redis.call('HDEL', row, 'resent')
      free_device(j, s)
      failed = attempt >= tonumber(redis.call('HGET', row, 'last_attempt') or redis.call('HGET', stage, 'max_attempts'))
      if failed then
        set_state(j, s, n, 'failed')
        redis.call('HSET', row, 'finished_at', stamp(now()))
        redis.call('HSETNX', stage, 'first_failed', n)
        move(j, s, 'queued', 'failed')
        emit(j, 'shard.failed', s, n, ARGV[6])
      else
        redis.call('HSET', row, 'attempt', attempt + 1)
        emit(j, 'shard.requeued', s, n, ARGV[6])
      end
    end
    if not failed then
      enqueue(q, j, s, n, true)
      count = count + 1
    end
  end
end
for _, m in ipairs(late) do
  redis.call('ZREM', ksent(q), m)
  local ok, why = pcall(put_back, m)
  if not ok then damaged(split(m) or m, why) end
end
return {#late, count}
