-- ARGV: job, scope, holder, most tokens (-1: any), most nano-dollars (-1: any), tokens, nano-dollars, last (1: do not
-- wait). Answers ok, wait (calls in flight hold the rest) or never, with what was spent.
local key = P .. 'job:' .. ARGV[2] .. ':budget:' .. ARGV[3]
local answer, spent = 'ok', {}
for i, what in ipairs({'tokens', 'nano'}) do
  local most, cost = tonumber(ARGV[4 + i]), tonumber(ARGV[6 + i])
  spent[i] = tonumber(redis.call('HGET', key, 'spent:' .. what) or '0')
  local held = tonumber(redis.call('HGET', key, 'held:' .. what) or '0')
  if most >= 0 and spent[i] + held + cost > most then
    local never = spent[i] + cost > most or ARGV[9] == '1'
    if never then answer = 'never' elseif answer == 'ok' then answer = 'wait' end
  end
end
if answer == 'ok' then
  for i, what in ipairs({'tokens', 'nano'}) do
    redis.call('HINCRBY', key, 'held:' .. what, ARGV[6 + i])
    redis.call('HINCRBY', key, 'held:' .. what .. ':' .. ARGV[4], ARGV[6 + i])
  end
end
return {answer, string.format('%.0f', spent[1]), string.format('%.0f', spent[2])}
