-- attack: temporary table
-- expect: not_authorized
CREATE TEMP TABLE sense_attack(a)

-- attack: temporary table by its schema
-- expect: not_authorized
CREATE TABLE temp.sense_attack AS SELECT 1

-- attack: temporary view that shadows
-- expect: not_authorized
CREATE TEMP VIEW customer AS SELECT 1

-- attack: temporary trigger
-- expect: not_authorized
CREATE TEMP TRIGGER sense_attack BEFORE INSERT ON main.customer BEGIN SELECT 1; END

-- attack: temporary virtual table
-- expect: not_authorized
CREATE VIRTUAL TABLE temp.sense_attack USING fts3tokenize

-- attack: statement journal
-- expect: not_authorized
INSERT OR FAIL INTO customer SELECT id + 10, name, city FROM customer RETURNING *

-- attack: large sorter with many terms
-- expect: timeout memory_limit row_limit
SELECT a.x, b.x, c.x FROM many a, many b, many c ORDER BY c.x DESC, b.x, a.x DESC

-- attack: large set for a group
-- expect: timeout memory_limit row_limit
SELECT a.x * b.x, count(*) FROM many a, many b GROUP BY 1 ORDER BY 2 DESC

-- attack: compound that sorts both sides
-- expect: timeout memory_limit row_limit
SELECT a.x, b.x FROM many a, many b INTERSECT SELECT b.x, a.x FROM many a, many b ORDER BY 2, 1
