-- ARGV: ledger, holder, most tokens (-1: any), most nano-dollars (-1: any), tokens, nano-dollars, last (1: do not wait),
-- seconds that the ledger stays (0: as long as its job). Returns ok, wait (calls in flight hold the rest) or never, with
-- what was spent.
local key = P .. ARGV[2]
local answer, spent = 'ok', {}
for i, what in ipairs({'tokens', 'nano'}) do
  local most, cost = tonumber(ARGV[3 + i]), tonumber(ARGV[5 + i])
  spent[i] = tonumber(redis.call('HGET', key, 'spent:' .. what) or '0')
  local held = tonumber(redis.call('HGET', key, 'held:' .. what) or '0')
  if most >= 0 and spent[i] + held + cost > most then
    local never = spent[i] + cost > most or ARGV[8] == '1'
    if never then answer = 'never' elseif answer == 'ok' then answer = 'wait' end
  end
end
if answer == 'ok' then
  for i, what in ipairs({'tokens', 'nano'}) do
    redis.call('HINCRBY', key, 'held:' .. what, ARGV[5 + i])
    redis.call('HINCRBY', key, 'held:' .. what .. ':' .. ARGV[3], ARGV[5 + i])
  end
  if ARGV[9] ~= '0' then redis.call('EXPIRE', key, ARGV[9]) end
end
return {answer, string.format('%.0f', spent[1]), string.format('%.0f', spent[2])}
