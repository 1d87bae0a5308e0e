-- ARGV: job, epoch. Retention has removed the old objects of this ending.
if redis.call('HGET', kjob(ARGV[2]), 'epoch') ~= ARGV[3] then return 0 end
redis.call('HSET', kjob(ARGV[2]), 'swept', ARGV[3])
return 1
