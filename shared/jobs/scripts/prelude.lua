-- The beginning of every script. ARGV[1] is the key prefix. All keys are in one Redis, never in a cluster.
-- Times are by the clock of the server, so that no worker's clock decides about a lease.
local P = ARGV[1]
-- KEYS, if given: the key of the leader lease and the token that it must hold. A former leader changes nothing.
if KEYS[1] and redis.pcall('GET', KEYS[1]) ~= KEYS[2] then
  return redis.error_reply('FENCED the lease belongs to another orchestrator')
end
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end
local function stamp(t) return string.format('%.6f', t) end
local function kjob(j) return P .. 'job:' .. j end
local function kstage(j, s) return P .. 'job:' .. j .. ':stage:' .. s end
local function kstages(j) return P .. 'job:' .. j .. ':stages' end
local function kshards(j, s) return P .. 'job:' .. j .. ':shards:' .. s end
local function kdone(j, s) return P .. 'job:' .. j .. ':done:' .. s end
local function krow(j, s, n) return P .. 'job:' .. j .. ':row:' .. s .. ':' .. n end
local function kevents(j) return P .. 'job:' .. j .. ':events' end
local function kturns(q) return P .. 'queue:' .. q .. ':turns' end
local function kpending(q, j) return P .. 'queue:' .. q .. ':pending:' .. j end
local function ksent(q) return P .. 'queue:' .. q .. ':sent' end
local function krunning(q) return P .. 'queue:' .. q .. ':running' end
local function kdevice(d) return P .. 'device:' .. d end
local function kowned(o) return P .. 'owner:' .. o .. ':jobs' end
local KLEASES = P .. 'leases'
local KALL_EVENTS = P .. 'events'
local KSTALE = P .. 'stale'
local KSETTLING = P .. 'settling'
local KDAMAGED = P .. 'damaged'
local function member(j, s, n) return j .. '|' .. s .. '|' .. n end
local function split(m)
  local j, s, n = string.match(m, '^([^|]+)|([^|]+)|([^|]+)$')
  return j, s, n
end
local function alive(status) return status == 'queued' or status == 'running' end
local function terminal(status) return status == 'succeeded' or status == 'failed' or status == 'cancelled' end
local function emit(j, name, stage, shard, data)
  if redis.call('EXISTS', kjob(j)) == 0 then return end -- it has left Redis: do not create its stream again
  local at = stamp(now())
  -- the stream of all jobs says where something happened; the data is in the shard and in the stream of the job
  -- (if this stream takes no entries, no job is to blame, and the sweep finds what it does not report)
  redis.pcall('XADD', KALL_EVENTS, 'MAXLEN', '~', 100000, '*', 'name', name, 'job_id', j, 'stage', stage, 'shard', shard,
    'at', at)
  redis.call('XADD', kevents(j), 'MAXLEN', '~', 20000, '*',
    'type', 'fact', 'name', name, 'stage', stage, 'shard', shard, 'at', at, 'data', data)
  -- an event of a finished job makes its archive stale; the number tells newer reasons from older ones
  local status = redis.call('HGET', kjob(j), 'status')
  if terminal(status) then redis.call('HINCRBY', KSTALE, j, 1) end
end
local function move(j, s, from, to)
  if from ~= '' then redis.call('HINCRBY', kstage(j, s), from, -1) end
  if to ~= '' then redis.call('HINCRBY', kstage(j, s), to, 1) end
end
-- A shard waits in the list of its job, and the job waits for its turn in the queue. Shards that follow others go ahead
-- of those that start: the first ones reach the end of the plan while later ones are still written.
-- A job with waiting shards has its turn already, so only its first waiting shard looks for one.
local function enqueue(q, j, s, n, ahead)
  local waiting = redis.call(ahead and 'LPUSH' or 'RPUSH', kpending(q, j), s .. '|' .. n)
  if waiting == 1 and not redis.call('LPOS', kturns(q), j) then redis.call('RPUSH', kturns(q), j) end
end
-- A shard keeps the epoch of its job in which it was queued, failed or cancelled; none means the first.
local function set_state(j, s, n, state)
  local epoch = redis.call('HGET', kjob(j), 'epoch')
  if epoch and epoch ~= '1' then
    redis.call('HSET', krow(j, s, n), 'state', state, 'epoch', epoch)
  else
    redis.call('HSET', krow(j, s, n), 'state', state)
  end
end
-- No script walks all shards of a job. `cancel`, `end_job` and `retry` move the counters at once, and advancing, claiming
-- and taking go by those. The shards follow in slices (settle_shards), which go on after any crash.
local function number(text, other) return tonumber(text or other) or other end
local function begin_settling(j, how)
  local count = 0
  for _, s in ipairs(redis.call('LRANGE', kstages(j), 0, -1)) do
    local held = redis.call('HMGET', kstage(j, s), 'queue', 'queued', 'failed', 'cancelled')
    if held[1] then redis.call('UNLINK', kpending(held[1], j)) end
    local queued, ended = number(held[2], 0), number(held[3], 0) + number(held[4], 0)
    if how == 'cancel' and queued > 0 then
      redis.call('HSET', kstage(j, s), 'queued', 0, 'cancelled', number(held[4], 0) + queued)
      count = count + queued
    elseif how == 'retry' and ended + queued > 0 then
      redis.call('HSET', kstage(j, s), 'queued', queued + ended, 'failed', 0, 'cancelled', 0)
      redis.call('HDEL', kstage(j, s), 'first_failed')
      count = count + queued + ended
    end
  end
  -- this walk also takes the shards that an unfinished one left
  if count == 0 and redis.call('HEXISTS', kjob(j), 'settle') == 0 then return end
  redis.call('HSET', kjob(j), 'settle', how, 'settle_stage', 0, 'settle_from', '-inf')
  redis.call('SADD', KSETTLING, j)
end
local function free_device(j, s)
  local device = redis.call('HGET', kstage(j, s), 'device')
  if device and device ~= '' and redis.call('HGET', kstage(j, s), 'hold') == 'shard' then
    if redis.call('GET', kdevice(device)) == j .. '|' .. s then redis.call('DEL', kdevice(device)) end
  end
end
-- Gives back the device that a stage holds for a shard or for the job.
local function give_back_device(j, s)
  local device = redis.call('HGET', kstage(j, s), 'device')
  if device and device ~= '' then
    local holder = redis.call('GET', kdevice(device))
    if holder == j or holder == j .. '|' .. s then redis.call('DEL', kdevice(device)) end
  end
end
-- Marks a job with data that a script cannot read. The orchestrator ends it, and the script goes on with the others.
local function damaged(j, why)
  redis.call('HSET', KDAMAGED, j, type(why) == 'table' and why.err or tostring(why))
end
local STATES = {queued = true, running = true, done = true, failed = true, cancelled = true}
local function check_state(j, s, n, state)
  if STATES[state or ''] or redis.call('EXISTS', kjob(j)) == 0 then return end
  error('row ' .. s .. '/' .. n .. (state and ' is in the state ' .. state or ' is gone'), 0)
end
-- Whether an owner has as many active jobs as allowed. Finished jobs are removed from the set only when it seems full, so
-- it never holds more than the limit.
local function too_many(o, most)
  if most < 0 or redis.call('SCARD', kowned(o)) < most then return false end
  return redis.call('SINTERSTORE', kowned(o), kowned(o), P .. 'active') >= most
end
