-- ARGV: job, the number seen before archiving. The archive is up to date unless more has happened.
if redis.call('HGET', KSTALE, ARGV[2]) ~= ARGV[3] then return 0 end
return redis.call('HDEL', KSTALE, ARGV[2])
