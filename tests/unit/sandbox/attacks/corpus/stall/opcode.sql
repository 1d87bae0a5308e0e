-- attack: instr in one step
-- expect: timeout
SELECT instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1')

-- attack: instr of blobs in one step
-- expect: timeout ok
SELECT instr(zeroblob(990000), CAST(zeroblob(490000) || x'01' AS BLOB))

-- attack: replace that searches in one step
-- expect: timeout ok
SELECT length(replace(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1', ''))

-- attack: like in one step
-- expect: timeout ok
SELECT hex(zeroblob(490000)) LIKE '<<90 * %0>>%1'

-- attack: glob in one step
-- expect: timeout ok
SELECT hex(zeroblob(490000)) GLOB '<<90 * *0>>*1'

-- attack: trim of many characters
-- expect: timeout ok
SELECT length(trim(hex(zeroblob(490000)), replace(hex(zeroblob(5000)), '0', 'ä') || '0'))

-- attack: rtrim of wide characters
-- expect: timeout ok
SELECT length(rtrim(replace(hex(zeroblob(200000)), '0', 'é'), replace(hex(zeroblob(35000)), '0', 'è') || 'é'))

-- attack: printf that counts characters
-- expect: timeout ok byte_limit
SELECT length(printf('%!.900000s<<100 * %!900000s>>', hex(zeroblob(400000))<<100 * , 'é'>>))

-- attack: printf of a huge exact number
-- expect: timeout ok byte_limit
SELECT length(printf('<<100 * %!.99999f>>'<<100 * , 1e308>>))

-- attack: json_each path over a long key
-- expect: row_limit timeout
SELECT json_extract('{' || replace(hex(zeroblob(30000)), '00', '"a":1,') || '"z":1}', '$.z') FROM many a, many b

-- attack: json_remove from a long list
-- expect: timeout ok byte_limit
SELECT length(json_remove('[' || replace(hex(zeroblob(200000)), '00', '1,') || '1]'<<300 * , '$[#-1]'>>))

-- attack: json_insert in a long list
-- expect: timeout ok byte_limit
SELECT length(json_insert('[' || replace(hex(zeroblob(200000)), '00', '1,') || '1]'<<300 * , '$[#]', 1>>))

-- attack: json_patch of objects with many keys
-- expect: timeout ok byte_limit type_or_function_error
WITH d(k) AS (SELECT json_group_object('k' || value, value) FROM (SELECT a.x * 2000 + b.x AS value FROM many a, (SELECT x FROM many LIMIT 10) b)) SELECT length(json_patch(k, k)) FROM d

-- attack: unhex with many separators
-- expect: ok timeout empty
SELECT unhex(hex(zeroblob(450000)) || 'zz', replace(hex(zeroblob(200000)), '0', 'é'))

-- attack: sum of a large set of huge numbers in one call
-- expect: timeout ok type_or_function_error
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(9223372036854775807) FROM c

-- attack: sort that compares long common starts
-- expect: timeout memory_limit ok
SELECT max(z) FROM (SELECT hex(zeroblob(40000)) || x AS z FROM many ORDER BY 1 COLLATE NOCASE DESC LIMIT 1900)

-- attack: strftime over many
-- expect: timeout
SELECT count(*) FROM many a, many b WHERE strftime('%Y-%m-%d %H:%M:%f %j %J %s %w %W %G %V %u', a.x * 1e4 + b.x<<20 * , '+1 month'>>) > '2'

-- attack: soundex and friends over long texts
-- expect: timeout ok type_or_function_error
SELECT max(octet_length(hex(zeroblob(490000))) + length(CAST(zeroblob(490000) AS TEXT) || x)) FROM many

-- attack: unicode length in one step, repeated
-- expect: timeout ok
SELECT count(*) FROM many a, many b WHERE length(replace(hex(zeroblob(100000)), '00', 'é')) = a.x

-- attack: substr from the far end
-- expect: timeout ok
SELECT count(substr(t, -x, 1)) FROM many, (SELECT replace(hex(zeroblob(200000)), '00', 'é') AS t)

-- attack: geopoly of many corners
-- expect: timeout row_limit
SELECT geopoly_overlap(g, g) FROM (SELECT geopoly_regular(0, 0, 1000, 1000) AS g), many a, many b
