-- ARGV: job, stage, skipped. Only in an active job; closing twice changes nothing.
local j, s = ARGV[2], ARGV[3]
if not alive(redis.call('HGET', kjob(j), 'status')) then return 0 end
if redis.call('HSETNX', kstage(j, s), 'closed', 1) == 0 then return 0 end
if ARGV[4] == '1' then redis.call('HSET', kstage(j, s), 'skipped', 1) end
emit(j, 'stage.closed', s, '', '{}')
return 1
