-- ARGV: job, status, error json ('' for none). A second ending changes nothing.
local j = ARGV[2]
local status = redis.call('HGET', kjob(j), 'status')
if not status or terminal(status) then return 0 end
-- a shard that was claimed just before the cancellation still runs; when it settles, the orchestrator ends the job
if ARGV[3] == 'cancelled' then
  if redis.call('HEXISTS', kjob(j), 'settle') == 1 then return 0 end
  for _, s in ipairs(redis.call('LRANGE', kstages(j), 0, -1)) do
    if tonumber(redis.call('HGET', kstage(j, s), 'running') or 0) > 0 then return 0 end
  end
end
redis.call('HSET', kjob(j), 'status', ARGV[3], 'finished_at', stamp(now()))
if ARGV[4] ~= '' then redis.call('HSET', kjob(j), 'error', ARGV[4]) end
redis.call('SREM', P .. 'active', j)
if ARGV[3] == 'failed' then begin_settling(j, 'cancel') end
for _, s in ipairs(redis.call('LRANGE', kstages(j), 0, -1)) do
  give_back_device(j, s)
end
emit(j, 'job.' .. ARGV[3], '', '', ARGV[4] ~= '' and ARGV[4] or '{}')
return 1
