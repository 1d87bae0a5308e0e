-- ARGV: ledger, holder. What lost attempts of a shard held counts as spent, because
-- those calls may have been billed.
local key = P .. ARGV[2]
local job, scope = string.match(ARGV[2], '^job:([^:]+):budget:(.+)$')
if job then redis.call('SADD', P .. 'job:' .. job .. ':budgets', scope) end -- removed when the job leaves
for _, what in ipairs({'tokens', 'nano'}) do
  local field = 'held:' .. what .. ':' .. ARGV[3]
  local left = tonumber(redis.call('HGET', key, field) or '0')
  if left ~= 0 then
    redis.call('HINCRBY', key, 'spent:' .. what, left)
    redis.call('HINCRBY', key, 'held:' .. what, -left)
    redis.call('HDEL', key, field)
  end
end
return 'ok'
