-- ARGV: queue, lease seconds. Rows sent but not claimed within a lease go back to the head of their lists, same attempt.
local q = ARGV[2]
local late = redis.call('ZRANGEBYSCORE', ksent(q), '-inf', now() - tonumber(ARGV[3]))
local count = 0
local function put_back(m)
  local j, s, n = split(m)
  local state = redis.call('HGET', krow(j, s, n), 'state')
  check_state(j, s, n, state)
  if state == 'queued' then
    enqueue(q, j, s, n, true)
    count = count + 1
  end
end
for _, m in ipairs(late) do
  redis.call('ZREM', ksent(q), m)
  local ok, why = pcall(put_back, m)
  if not ok then damaged(split(m) or m, why) end
end
return count
