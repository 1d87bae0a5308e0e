-- ARGV: job, plan json; then groups of: stage, task, queue, max_attempts, device, hold, frees, follows
local j = ARGV[2]
if redis.call('HSETNX', kjob(j), 'plan', ARGV[3]) == 0 then return 0 end
for i = 4, #ARGV, 8 do
  local s = ARGV[i]
  redis.call('RPUSH', kstages(j), s)
  redis.call('HSET', kstage(j, s), 'task', ARGV[i + 1], 'queue', ARGV[i + 2], 'max_attempts', ARGV[i + 3],
    'device', ARGV[i + 4], 'hold', ARGV[i + 5], 'frees', ARGV[i + 6], 'follows', ARGV[i + 7])
end
return 1
