-- ARGV: job, stage, shard, token. A checkpoint gives the attempts back: the allowance starts at this attempt.
local j, s, n = ARGV[2], ARGV[3], ARGV[4]
local row = krow(j, s, n)
if redis.call('HGET', row, 'token') ~= ARGV[5] or redis.call('HGET', row, 'state') ~= 'running' then return 'lost' end
local attempt = tonumber(redis.call('HGET', row, 'attempt'))
local allowance = tonumber(redis.call('HGET', kstage(j, s), 'max_attempts'))
redis.call('HSET', row, 'last_attempt', attempt + allowance - 1)
return 'ok'
