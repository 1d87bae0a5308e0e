-- ARGV: job, scope, holder, reserved tokens, reserved nano-dollars, paid tokens, paid nano-dollars. A holder whose hold
-- was taken from it (another attempt runs) has been counted already.
local key = P .. 'job:' .. ARGV[2] .. ':budget:' .. ARGV[3]
for i, what in ipairs({'tokens', 'nano'}) do
  local field = 'held:' .. what .. ':' .. ARGV[4]
  if redis.call('HEXISTS', key, field) == 1 then
    redis.call('HINCRBY', key, field, -tonumber(ARGV[4 + i]))
    redis.call('HINCRBY', key, 'held:' .. what, -tonumber(ARGV[4 + i]))
    redis.call('HINCRBY', key, 'spent:' .. what, ARGV[6 + i])
  end
end
return 'ok'
