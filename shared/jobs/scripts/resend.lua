-- ARGV: queue, lease seconds. Rows sent but not claimed within a lease go back to the head of their lists, same attempt.
local q = ARGV[2]
local late = redis.call('ZRANGEBYSCORE', ksent(q), '-inf', now() - tonumber(ARGV[3]))
local count = 0
for _, m in ipairs(late) do
  local j, s, n = split(m)
  redis.call('ZREM', ksent(q), m)
  if redis.call('HGET', krow(j, s, n), 'state') == 'queued' then
    enqueue(q, j, s, n, true)
    count = count + 1
  end
end
return count
