-- attack: blob of a gigabyte
-- expect: byte_limit
-- message: too big
SELECT zeroblob(1000000000)

-- attack: hex of what is allowed
-- expect: byte_limit
SELECT hex(zeroblob(900000))

-- attack: replace that grows
-- expect: byte_limit
SELECT replace(hex(zeroblob(400000)), '0', 'aaaaaaaaaa')

-- attack: replace that grows step by step
-- expect: byte_limit
SELECT replace(replace(replace(replace('aaaaaaaaaaaaaaaaaaaaaaaa', 'a', hex(zeroblob(100))), '0', hex(zeroblob(100))), '0', hex(zeroblob(100))), '0', hex(zeroblob(100)))

-- attack: printf with a wide pad
-- expect: ok byte_limit memory_limit
SELECT length(printf('%.*c', 100000000, 'x'))

-- attack: printf with a literal pad
-- expect: ok byte_limit memory_limit
SELECT length(printf('%2000000000d', 1))

-- attack: printf with precision of a float
-- expect: ok byte_limit memory_limit
SELECT length(printf('%.2000000000f', 1e308))

-- attack: format with many pads
-- expect: ok byte_limit memory_limit
SELECT length(format('<<200 * %900000d>>'<<200 * , 1>>))

-- attack: doubling by recursion
-- expect: byte_limit
WITH RECURSIVE c(x) AS (SELECT 'aaaaaaaa' UNION ALL SELECT x || x FROM c) SELECT max(length(x)) FROM c

-- attack: doubling blobs by recursion
-- expect: byte_limit timeout
WITH RECURSIVE c(x) AS (SELECT zeroblob(10) UNION ALL SELECT CAST(x || x AS BLOB) FROM c) SELECT count(x) FROM c

-- attack: concat of many
-- expect: byte_limit
SELECT concat(zeroblob(900000)<<50 * , hex(zeroblob(450000))>>)

-- attack: concat_ws with a long separator
-- expect: byte_limit
SELECT concat_ws(hex(zeroblob(450000))<<50 * , 1>>)

-- attack: quote of a blob
-- expect: byte_limit ok
SELECT length(quote(zeroblob(900000)))

-- attack: unistr of much
-- expect: ok byte_limit
SELECT length(unistr(replace(hex(zeroblob(30000)), '00', '\u0041')))

-- attack: upper of a chain
-- expect: byte_limit ok
SELECT length(upper(lower(upper(hex(zeroblob(499000))))))
