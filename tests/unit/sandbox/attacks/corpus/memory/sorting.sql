-- attack: sort that would spill
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT zeroblob(900000) AS z FROM (SELECT x FROM c LIMIT 4000) ORDER BY z, x

-- attack: sort of the endless
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, hex(zeroblob(1000)) FROM c ORDER BY x % 97, x

-- attack: materialised endless
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c), m AS MATERIALIZED (SELECT x, zeroblob(100000) z FROM c) SELECT count(*) FROM m a, m b

-- attack: union of long cells
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT zeroblob(500000) || x FROM c UNION SELECT 1

-- attack: except of the endless
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x || hex(zeroblob(2000)) FROM c EXCEPT SELECT 1

-- attack: in over a large set
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT 1 WHERE 'a' IN (SELECT zeroblob(400000) || x FROM c)

-- attack: automatic index over long cells
-- expect: memory_limit timeout
WITH RECURSIVE c(x, z) AS (SELECT 1, zeroblob(300000) UNION ALL SELECT x + 1, zeroblob(300000) FROM c LIMIT 5000) SELECT count(*) FROM c a JOIN c b ON a.z = b.z AND a.x = b.x

-- attack: window that holds its partition
-- expect: memory_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT last_value(zeroblob(300000)) OVER (PARTITION BY x % 2 ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM c

-- attack: queue of a recursion
-- expect: memory_limit timeout
WITH RECURSIVE c(x, z) AS (SELECT 1, zeroblob(200000) UNION ALL SELECT x + n, zeroblob(200000) FROM c, (SELECT 1 n UNION ALL SELECT 2 UNION ALL SELECT 3)) SELECT count(z) FROM c
