-- ARGV: key, token, milliseconds, how. `take` the leader lease if no one holds it, `renew` it or `give` it
-- back. Returns 1 if it is held. A lease that ran out is never renewed: another may have led in between.
local key, token, ms, how = P .. ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local holder = redis.pcall('GET', key)
if type(holder) == 'table' then -- a key of another type
  redis.call('DEL', key)
  holder = false
end
if how == 'give' then
  if holder == token then redis.call('DEL', key) end
  return 0
end
if how == 'renew' and holder ~= token then return 0 end
-- a lease longer than it can be: the clock of the server was set back, and no one should wait for that long
if how == 'take' and holder and redis.call('PTTL', key) <= ms then return 0 end
redis.call('SET', key, token, 'PX', ms)
return 1
