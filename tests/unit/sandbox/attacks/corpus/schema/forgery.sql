-- attack: insert into sqlite_master
-- expect: not_authorized
-- message: sqlite_master
INSERT INTO sqlite_master VALUES ('table', 'sense_attack', 'sense_attack', 2, 'CREATE TABLE sense_attack(a)')

-- attack: update of sqlite_schema
-- expect: not_authorized
-- message: sqlite_master|sqlite_schema
UPDATE sqlite_schema SET sql = 'CREATE TABLE customer(a)'

-- attack: delete from sqlite_master
-- expect: not_authorized
-- message: sqlite_master
DELETE FROM sqlite_master

-- attack: sqlite_temp_master
-- expect: not_authorized
-- message: sqlite_temp_master
SELECT name FROM sqlite_temp_master

-- attack: temp.sqlite_schema
-- expect: not_authorized empty
SELECT name FROM temp.sqlite_schema

-- attack: insert into sqlite_temp_schema
-- expect: not_authorized
-- message: sqlite_temp_master|sqlite_temp_schema
INSERT INTO sqlite_temp_schema VALUES ('table', 'customer', 'customer', 0, 'CREATE TABLE customer(a)')

-- attack: sqlite_sequence
-- expect: not_authorized
-- message: sqlite_sequence
UPDATE sqlite_sequence SET seq = 0

-- attack: sqlite_stat1
-- expect: not_authorized
-- message: sqlite_stat1
DELETE FROM sqlite_stat1

-- attack: the schema may be read
-- expect: ok
SELECT sql FROM sqlite_master WHERE type = 'table'

-- attack: a CTE that shadows a table
-- expect: ok
WITH customer AS (SELECT 1 AS id) SELECT id FROM customer

-- attack: a CTE that shadows the schema table
-- expect: ok
WITH sqlite_master AS (SELECT 1 AS name) SELECT name FROM sqlite_master

-- attack: a CTE named like a built-in table, without columns
-- expect: ok not_authorized
WITH dbstat AS (SELECT 1) SELECT count(*) FROM dbstat

-- attack: a CTE that hides a built-in behind its own name
-- expect: not_authorized syntax_error
-- message: dbstat
WITH dbstat AS (SELECT * FROM dbstat) SELECT count(*) FROM dbstat

-- attack: a CTE named like a built-in that another reaches with its schema
-- expect: not_authorized
-- message: dbstat
WITH dbstat AS (SELECT 1) SELECT count(*) FROM dbstat, main.dbstat

-- attack: indexed by what is not there
-- expect: syntax_error unknown_table
-- message: sense_attack
SELECT * FROM customer INDEXED BY sense_attack

-- attack: a table-valued function over a table
-- expect: syntax_error type_or_function_error
-- message: customer
SELECT * FROM customer(1, 2)

-- attack: json functions as tables of a schema
-- expect: ok unknown_table not_authorized
SELECT count(*) FROM main.json_each('[1]')

-- attack: rowid, oid and _rowid_
-- expect: ok
SELECT rowid, oid, _rowid_ FROM customer

-- attack: hidden columns of full text
-- expect: ok empty
SELECT docs, rank FROM docs WHERE docs MATCH 'hello'
