SELECT name FROM customer
SELECT * FROM customer WHERE city = 'Paris' ORDER BY name DESC
SELECT count(*), count(DISTINCT city) FROM customer
SELECT city, count(*) AS n FROM customer GROUP BY city HAVING count(*) > 1 ORDER BY n DESC, city LIMIT 3
SELECT c.name, sum(o.total) FROM customer c JOIN orders o ON o.customer_id = c.id GROUP BY c.id
SELECT c.name FROM customer c LEFT JOIN orders o ON o.customer_id = c.id WHERE o.id IS NULL
SELECT name FROM customer WHERE id IN (SELECT customer_id FROM orders WHERE total > 5)
SELECT name FROM customer WHERE NOT EXISTS (SELECT 1 FROM orders WHERE customer_id = customer.id)
SELECT name FROM customer UNION SELECT city FROM customer
SELECT city FROM customer INTERSECT SELECT city FROM customer WHERE id > 1
SELECT name FROM customer EXCEPT SELECT name FROM customer WHERE city LIKE 'P%'
SELECT max(total), min(total), avg(total) FROM orders
SELECT name, CASE WHEN city IS NULL THEN 'nowhere' WHEN city = 'Paris' THEN 'home' ELSE city END FROM customer
SELECT name, (SELECT max(total) FROM orders o WHERE o.customer_id = c.id) AS most FROM customer AS c ORDER BY most
WITH spent AS (SELECT customer_id, sum(total) AS s FROM orders GROUP BY customer_id) SELECT name, s FROM customer JOIN spent ON id = customer_id
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT i, i * i FROM n
SELECT name, row_number() OVER (ORDER BY name) FROM customer
SELECT city, rank() OVER (PARTITION BY city ORDER BY id DESC) AS r FROM customer
SELECT sum(total) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM orders
SELECT upper(name) || '-' || coalesce(city, '?') FROM customer
SELECT substr(name, 1, 2), length(name), instr(name, 'd'), replace(name, 'd', 'dd') FROM customer
SELECT round(total, 1), abs(total - 10), total % 3, CAST(total AS INTEGER) FROM orders
SELECT date('2020-02-28', '+1 day'), strftime('%Y', '2021-05-06'), julianday('2000-01-01')
SELECT name FROM customer WHERE name BETWEEN 'A' AND 'C' AND (city = 'Paris' OR city IS NULL)
SELECT name FROM customer WHERE name GLOB '[A-C]*' AND name NOT LIKE '%x%' ESCAPE '\'
SELECT a.name, b.name FROM customer a, customer b WHERE a.id < b.id AND a.city = b.city
SELECT a.name FROM customer a CROSS JOIN customer b CROSS JOIN orders o ORDER BY 1 LIMIT 5 OFFSET 2
SELECT typeof(note), hex(note), quote(note) FROM orders
SELECT json_extract('{"a": [1, 2, {"b": 3}]}', '$.a[2].b'), json_array(1, 'x', NULL)
SELECT value FROM json_each('[1, 2, 3]') WHERE value > 1
SELECT group_concat(name, ', ') FROM (SELECT name FROM customer ORDER BY name)
SELECT DISTINCT city FROM customer WHERE city IS NOT NULL
SELECT * FROM (SELECT * FROM (SELECT id, name FROM customer) WHERE id > 1) ORDER BY id
SELECT count(*) FILTER (WHERE total > 5), total(total) FROM orders
SELECT iif(total > 10, 'much', 'little'), nullif(total, 0.1) FROM orders
SELECT printf('%05.1f|%-5s|%x', 3.14159, 'ab', 255)
SELECT name FROM customer ORDER BY city COLLATE NOCASE NULLS LAST, name
SELECT (1, 2) < (1, 3), 1 IN (1, 2), NULL IS NULL, 7 / 2, 7.0 / 2, 1 << 4, ~5
VALUES (1, 'a'), (2, 'b')
SELECT o.id FROM orders o NATURAL JOIN customer c WHERE o.total = (SELECT max(total) FROM orders)
SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY name
EXPLAIN QUERY PLAN SELECT * FROM orders WHERE customer_id = 1
