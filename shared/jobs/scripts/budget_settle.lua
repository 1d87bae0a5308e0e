-- ARGV: ledger, holder, reserved tokens, reserved nano-dollars, paid tokens, paid nano-dollars. If another attempt
-- runs, the hold was counted as spent already.
local key = P .. ARGV[2]
for i, what in ipairs({'tokens', 'nano'}) do
  local field = 'held:' .. what .. ':' .. ARGV[3]
  if redis.call('HEXISTS', key, field) == 1 then
    redis.call('HINCRBY', key, field, -tonumber(ARGV[3 + i]))
    redis.call('HINCRBY', key, 'held:' .. what, -tonumber(ARGV[3 + i]))
    redis.call('HINCRBY', key, 'spent:' .. what, ARGV[5 + i])
  end
end
return 'ok'
