-- ARGV: queue, lease seconds, most. Rows sent but not claimed within a lease go back to the head of their lists, same
-- attempt; rows of a job that is over are only forgotten. Answers how many were looked at, and how many went back.
local q = ARGV[2]
local late = redis.call('ZRANGEBYSCORE', ksent(q), '-inf', now() - tonumber(ARGV[3]), 'LIMIT', 0, tonumber(ARGV[4]))
local count = 0
for _, m in ipairs(late) do
  local j, s, n = split(m)
  redis.call('ZREM', ksent(q), m)
  if redis.call('HGET', krow(j, s, n), 'state') == 'queued' and alive(redis.call('HGET', kjob(j), 'status')) then
    enqueue(q, j, s, n, true)
    count = count + 1
  end
end
return {#late, count}
