-- ARGV: key, token, milliseconds, how. `take` the orchestrators' lease where nobody has it, `renew` or `give` back one's
-- own. Answers 1 where it is held. A lease that ran out is never renewed: another may have led in between.
local key, token, ms, how = P .. ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local holder = redis.pcall('GET', key)
if type(holder) == 'table' then -- somebody put something else there
  redis.call('DEL', key)
  holder = false
end
if how == 'give' then
  if holder == token then redis.call('DEL', key) end
  return 0
end
if how == 'renew' and holder ~= token then return 0 end
-- no lease is longer than it was made: the server's clock was set back, and nobody shall wait as long as that was
if how == 'take' and holder and redis.call('PTTL', key) <= ms then return 0 end
redis.call('SET', key, token, 'PX', ms)
return 1
