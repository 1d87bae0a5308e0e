-- attack: insert
-- expect: not_authorized
-- message: insert customer
INSERT INTO customer VALUES (9, 'x', 'y')

-- attack: insert from a query
-- expect: not_authorized
-- message: insert orders
INSERT INTO orders SELECT * FROM orders

-- attack: insert or replace
-- expect: not_authorized
-- message: customer
INSERT OR REPLACE INTO customer(id, name) VALUES (1, 'x')

-- attack: replace
-- expect: not_authorized
-- message: customer
REPLACE INTO customer(id, name) VALUES (1, 'x')

-- attack: upsert
-- expect: not_authorized
-- message: customer
INSERT INTO customer(id, name) VALUES (1, 'x') ON CONFLICT(id) DO UPDATE SET name = 'x'

-- attack: insert returning
-- expect: not_authorized
-- message: insert customer
INSERT INTO customer(name) VALUES ('x') RETURNING id

-- attack: update
-- expect: not_authorized
-- message: update customer
UPDATE customer SET name = 'x'

-- attack: update of no row
-- expect: not_authorized
-- message: update customer
UPDATE customer SET name = 'x' WHERE 0

-- attack: update from
-- expect: not_authorized
-- message: update customer
UPDATE customer SET name = o.total FROM orders o WHERE o.customer_id = customer.id RETURNING *

-- attack: delete
-- expect: not_authorized
-- message: delete customer
DELETE FROM customer

-- attack: delete returning
-- expect: not_authorized
-- message: delete customer
DELETE FROM customer RETURNING *

-- attack: delete behind a CTE
-- expect: not_authorized
-- message: delete customer
WITH gone AS (SELECT id FROM customer) DELETE FROM customer WHERE id IN gone

-- attack: delete inside a CTE
-- expect: syntax_error
-- message: near "DELETE"
WITH gone AS (DELETE FROM customer RETURNING *) SELECT * FROM gone

-- attack: insert by a view
-- expect: not_authorized syntax_error
-- message: paris
INSERT INTO paris VALUES (1, 'x')

-- attack: full-text command
-- expect: not_authorized
-- message: docs
INSERT INTO docs(docs) VALUES ('rebuild')

-- attack: full-text row
-- expect: not_authorized
-- message: docs
INSERT INTO docs(body) VALUES ('x')

-- attack: shadow table of full text
-- expect: not_authorized
-- message: docs_data
DELETE FROM docs_data

-- attack: rtree row
-- expect: not_authorized
-- message: places
INSERT INTO places VALUES (9, 1, 2)

-- attack: explain of a delete
-- expect: not_authorized
-- message: delete customer
EXPLAIN DELETE FROM customer

-- attack: query plan of an update
-- expect: not_authorized
-- message: update customer
EXPLAIN QUERY PLAN UPDATE customer SET name = 'x'
