-- ARGV: job, record json fields..., idempotency key ('' for none), its ttl, body hash
local j = ARGV[2]
local idem, ttl, body = ARGV[3], tonumber(ARGV[4]), ARGV[5]
if idem ~= '' then
  local k = P .. 'idempotency:' .. idem
  local held = redis.call('HMGET', k, 'job', 'body')
  if held[1] then
    if held[2] == body then return {'same', held[1]} end
    return {'other', held[1]}
  end
  redis.call('HSET', k, 'job', j, 'body', body)
  redis.call('EXPIRE', k, ttl)
end
redis.call('HSET', kjob(j), 'id', j, 'kind', ARGV[6], 'name', ARGV[7], 'spec', ARGV[8], 'request_id', ARGV[9],
  'status', 'queued', 'epoch', 1, 'created_at', stamp(now()))
redis.call('ZADD', P .. 'jobs', now(), j)
redis.call('SADD', P .. 'active', j)
emit(j, 'job.submitted', '', '', '{}')
return {'new', j}
