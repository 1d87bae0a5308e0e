-- attack: cross join of nine
-- expect: timeout
SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e, orders f, orders g, orders h, orders i, orders j, orders k, orders l, orders m

-- attack: cross join of a long list
-- expect: timeout
SELECT count(*) FROM many a, many b, many c, many d

-- attack: join on an expression that no index serves
-- expect: timeout
SELECT count(*) FROM many a JOIN many b ON a.x * b.x % 7 = 3 JOIN many c ON abs(b.x - c.x) > 10 JOIN many d ON d.x <> c.x

-- attack: sixty-four tables
-- expect: timeout
SELECT count(*) FROM many t0<<63 *  CROSS JOIN many>>

-- attack: more tables than a join may have
-- expect: syntax_error
-- message: at most 64 tables in a join
SELECT count(*) FROM many<<64 * , many>>

-- attack: planner over sixty tables with conditions
-- expect: ok timeout unknown_column ambiguous_column
SELECT count(*) FROM many<<50 *  NATURAL JOIN many>> NATURAL LEFT JOIN orders

-- attack: correlated three levels
-- expect: timeout
SELECT a.x, (SELECT count(*) FROM many b WHERE b.x > a.x AND b.x < (SELECT max(c.x) FROM many c WHERE c.x <> b.x + a.x)) FROM many a

-- attack: not in over a product
-- expect: timeout
SELECT count(*) FROM many a, many b WHERE a.x + b.x NOT IN (SELECT c.x * d.x FROM many c, many d WHERE c.x <> a.x)

-- attack: full join of products
-- expect: timeout
SELECT count(*) FROM (SELECT a.x FROM many a, many b) p FULL JOIN (SELECT c.x FROM many c, many d) q ON p.x + 1 = q.x * 2

-- attack: window over a product
-- expect: timeout memory_limit
SELECT sum(a.x) OVER (ORDER BY b.x ROWS BETWEEN 100000 PRECEDING AND 100000 FOLLOWING) FROM many a, many b

-- attack: window with exclude
-- expect: row_limit timeout
SELECT group_concat(x) OVER (ORDER BY x ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW) FROM many

-- attack: range window of a product
-- expect: timeout memory_limit
SELECT max(v) FROM (SELECT count(*) OVER (ORDER BY a.x RANGE BETWEEN 500 PRECEDING AND 500 FOLLOWING) v FROM many a, many b)

-- attack: distinct over a product
-- expect: timeout memory_limit
SELECT count(DISTINCT a.x * 100000 + b.x) FROM many a, many b, many c

-- attack: deep chain of doubled subqueries
-- expect: timeout memory_limit syntax_error
-- message: deadline|memory|
WITH a AS (SELECT 1 x UNION ALL SELECT 2), b AS (SELECT p.x FROM a p, a q), c AS (SELECT p.x FROM b p, b q), d AS (SELECT p.x FROM c p, c q), e AS (SELECT p.x FROM d p, d q), f AS (SELECT p.x FROM e p, e q) SELECT count(*) FROM f

-- attack: chain of doubled CTEs that no row leaves
-- expect: timeout memory_limit syntax_error empty
WITH a AS (SELECT id x FROM customer), b AS (SELECT p.x FROM a p JOIN a q ON p.x = q.x), c AS (SELECT p.x FROM b p JOIN b q ON p.x = q.x), d AS (SELECT p.x FROM c p JOIN c q ON p.x = q.x), e AS (SELECT p.x FROM d p JOIN d q ON p.x = q.x), f AS (SELECT p.x FROM e p JOIN e q ON p.x = q.x), g AS (SELECT p.x FROM f p JOIN f q ON p.x = q.x), h AS (SELECT p.x FROM g p JOIN g q ON p.x = q.x), i AS (SELECT p.x FROM h p JOIN h q ON p.x = q.x) SELECT x FROM i WHERE x < 0
