-- ARGV: device, job. The job gives the device back; another holder is left alone.
local holder = redis.call('GET', kdevice(ARGV[2]))
if holder == ARGV[3] then return redis.call('DEL', kdevice(ARGV[2])) end
return 0
