-- attack: create table
-- expect: not_authorized
-- message: create table sense_attack|sqlite_master
CREATE TABLE sense_attack(a)

-- attack: create table as select
-- expect: not_authorized
CREATE TABLE sense_attack AS SELECT * FROM customer

-- attack: create table if it exists already
-- expect: empty not_authorized
CREATE TABLE IF NOT EXISTS customer(a)

-- attack: create index
-- expect: not_authorized
CREATE INDEX sense_attack ON customer(name)

-- attack: create view
-- expect: not_authorized
CREATE VIEW sense_attack AS SELECT 1

-- attack: create trigger
-- expect: not_authorized
CREATE TRIGGER sense_attack AFTER INSERT ON customer BEGIN DELETE FROM orders; END

-- attack: create virtual table
-- expect: not_authorized
CREATE VIRTUAL TABLE sense_attack USING fts5(a)

-- attack: create virtual table of csv
-- expect: not_authorized
CREATE VIRTUAL TABLE sense_attack USING csv(filename='/etc/passwd')

-- attack: drop table
-- expect: not_authorized
-- message: drop table customer|sqlite_master
DROP TABLE customer

-- attack: drop what is not there
-- expect: empty not_authorized
DROP TABLE IF EXISTS nowhere

-- attack: drop view
-- expect: not_authorized
DROP VIEW paris

-- attack: alter add
-- expect: not_authorized
ALTER TABLE customer ADD COLUMN sense_attack TEXT

-- attack: alter rename
-- expect: not_authorized
ALTER TABLE customer RENAME TO sense_attack

-- attack: alter drop
-- expect: not_authorized
ALTER TABLE customer DROP COLUMN city

-- attack: reindex
-- expect: not_authorized
-- message: reindex
REINDEX

-- attack: analyze
-- expect: not_authorized
-- message: analyze|sqlite_stat1
ANALYZE

-- attack: vacuum
-- expect: not_authorized
-- message: attach|vacuum
VACUUM

-- attack: vacuum into
-- expect: not_authorized
-- message: attach|vacuum
VACUUM INTO '/tmp/sense_attack.sqlite'

-- attack: vacuum into by an expression
-- expect: not_authorized
VACUUM INTO '/tmp/' || 'sense_attack' || (SELECT count(*) FROM customer)

-- attack: vacuum into shared memory
-- expect: not_authorized
VACUUM main INTO '/dev/shm/sense_attack.sqlite'
