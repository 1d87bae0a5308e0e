-- attack: group_concat of the endless
-- expect: byte_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT group_concat(x) FROM c

-- attack: group_concat of long cells
-- expect: byte_limit
SELECT group_concat(hex(zeroblob(400000))) FROM many

-- attack: many groups of long cells
-- expect: memory_limit timeout byte_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(length(g)) FROM (SELECT group_concat(zeroblob(300000)) g FROM c GROUP BY x % 5000)

-- attack: string_agg of the endless
-- expect: byte_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT string_agg(hex(zeroblob(1000)), '') FROM c

-- attack: json_group_array of the endless
-- expect: byte_limit timeout memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT json_group_array(hex(zeroblob(1000))) FROM c

-- attack: json_group_object of the endless
-- expect: byte_limit timeout memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT json_group_object(x, hex(zeroblob(1000))) FROM c

-- attack: jsonb_group_array of the endless
-- expect: byte_limit timeout memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT length(jsonb_group_array(x)) FROM c

-- attack: median of the endless
-- expect: timeout memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT median(x) FROM c

-- attack: percentile of many, then its sort in one step
-- expect: timeout ok memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 1500000) SELECT percentile(x * 7919 % 1000003, 50) FROM c

-- attack: distinct of long cells
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(DISTINCT zeroblob(500000) || x) FROM c

-- attack: max of a row that is held
-- expect: timeout byte_limit memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x), hex(zeroblob(400000)), zeroblob(900000) FROM c GROUP BY x % 100000
