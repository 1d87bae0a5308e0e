-- ARGV: queue, most, most jobs to look at. Marks up to `most` queued shards as sent, one job after the other.
-- A stage that needs a device waits until the device is free or its job holds it. The next call starts behind the jobs
-- that this one looked at. A shard that cannot be read harms only its job, which the orchestrator ends.
local q, most, looks = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local taken, idle = {}, 0
local function take_one(j)
  if not alive(redis.call('HGET', kjob(j), 'status')) then redis.call('UNLINK', kpending(q, j)) end
  local entry = redis.call('LPOP', kpending(q, j))
  if not entry then return end
  local s, n = string.match(entry, '^(.+)|([^|]+)$')
  local row = krow(j, s, n)
  local state = redis.call('HGET', row, 'state')
  local fresh = state == 'queued'
  check_state(j, s, n, state)
  local free = true
  local device = redis.call('HGET', kstage(j, s), 'device')
  if fresh and device and device ~= '' then
    local owner = j .. '|' .. s
    if redis.call('HGET', kstage(j, s), 'hold') == 'job' then owner = j end
    local holder = redis.call('GET', kdevice(device))
    if not holder or holder == owner then
      redis.call('SET', kdevice(device), owner)
    else
      free = false
    end
  end
  if fresh and free then
    redis.call('ZADD', ksent(q), now(), member(j, s, n))
    table.insert(taken, j); table.insert(taken, s); table.insert(taken, n)
    idle = 0
  elseif fresh then
    redis.call('LPUSH', kpending(q, j), entry)
    idle = idle + 1
  end
  if redis.call('LLEN', kpending(q, j)) > 0 then redis.call('RPUSH', kturns(q), j) end
end
while #taken < most * 3 and looks > 0 do
  looks = looks - 1
  local turns = redis.call('LLEN', kturns(q))
  if turns == 0 or idle >= turns then break end
  local j = redis.call('LPOP', kturns(q))
  local ok, why = pcall(take_one, j)
  if not ok then damaged(j, why) end
end
return taken
