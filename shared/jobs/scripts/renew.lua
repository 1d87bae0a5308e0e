-- ARGV: job, stage, shard, token, lease seconds, worker. Answers ok, cancelling, draining or lost.
local j, s, n = ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', krow(j, s, n), 'token') ~= ARGV[5] then return 'lost' end
if redis.call('HGET', krow(j, s, n), 'state') ~= 'running' then return 'lost' end
redis.call('ZADD', KLEASES, now() + tonumber(ARGV[6]), member(j, s, n))
if not alive(redis.call('HGET', kjob(j), 'status')) then return 'cancelling' end
if redis.call('EXISTS', P .. 'draining:' .. ARGV[7]) == 1 then return 'draining' end
return 'ok'
