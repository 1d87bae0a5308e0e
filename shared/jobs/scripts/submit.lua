-- ARGV: job, idempotency key ('' for none), its ttl, body hash, kind, name, spec, request, owner's id ('' for none) and
-- name, most active jobs of an owner (-1: any). A refused job leaves no trace.
local j = ARGV[2]
local idem, ttl, body = ARGV[3], tonumber(ARGV[4]), ARGV[5]
if idem ~= '' then
  local k = P .. 'idempotency:' .. idem
  local held = redis.call('HMGET', k, 'job', 'body')
  if held[1] then
    if held[2] == body then return {'same', held[1]} end
    return {'other', held[1]}
  end
end
local owner = ARGV[10]
if owner ~= '' then
  if too_many(owner, tonumber(ARGV[12])) then return {'full', ''} end
  redis.call('SADD', kowned(owner), j)
end
if idem ~= '' then
  local k = P .. 'idempotency:' .. idem
  redis.call('HSET', k, 'job', j, 'body', body)
  redis.call('EXPIRE', k, ttl)
end
redis.call('HSET', kjob(j), 'id', j, 'kind', ARGV[6], 'name', ARGV[7], 'spec', ARGV[8], 'request_id', ARGV[9],
  'owner_id', owner, 'owner', ARGV[11],
  'status', 'queued', 'epoch', 1, 'created_at', stamp(now()))
redis.call('ZADD', P .. 'jobs', now(), j)
redis.call('SADD', P .. 'active', j)
emit(j, 'job.submitted', '', '', '{}')
return {'new', j}
