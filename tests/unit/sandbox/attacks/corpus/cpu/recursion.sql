-- attack: endless counter
-- expect: timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c

-- attack: endless counter that keeps duplicates away
-- expect: timeout memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION SELECT x + 1 FROM c) SELECT max(x) FROM c

-- attack: endless with an order
-- expect: timeout memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c ORDER BY 1 DESC) SELECT sum(x) FROM c

-- attack: doubling each step
-- expect: timeout memory_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c UNION ALL SELECT x + 2 FROM c) SELECT count(*) FROM c

-- attack: endless that never yields a row
-- expect: timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0

-- attack: endless inside EXISTS
-- expect: timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT name FROM customer WHERE EXISTS (SELECT 1 FROM c WHERE x < customer.id - 100)

-- attack: endless inside a scalar subquery
-- expect: timeout
SELECT (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c)

-- attack: endless behind a limit that is far away
-- expect: timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 9000000000000000000) SELECT count(*) FROM c

-- attack: offset that is never reached
-- expect: timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c LIMIT 1 OFFSET 9000000000000000000

-- attack: mandelbrot
-- expect: timeout ok
WITH RECURSIVE xaxis(x) AS (VALUES(-2.0) UNION ALL SELECT x + 0.0005 FROM xaxis WHERE x < 1.2),
  yaxis(y) AS (VALUES(-1.0) UNION ALL SELECT y + 0.0005 FROM yaxis WHERE y < 1.0),
  m(iter, cx, cy, x, y) AS (SELECT 0, x, y, 0.0, 0.0 FROM xaxis, yaxis
    UNION ALL SELECT iter + 1, cx, cy, x * x - y * y + cx, 2.0 * x * y + cy FROM m WHERE (x * x + y * y) < 4.0 AND iter < 280)
SELECT max(iter) FROM m

-- attack: two recursions over each other
-- expect: timeout
WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a), b(y) AS (SELECT 1 UNION ALL SELECT y + 1 FROM b)
SELECT count(*) FROM a, b WHERE x = y

-- attack: mutual recursion
-- expect: syntax_error
-- message: circular reference: a
WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a

-- attack: recursion used twice
-- expect: syntax_error timeout
-- message: c|deadline
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT a.x + b.x FROM c a, c b) SELECT count(*) FROM c
