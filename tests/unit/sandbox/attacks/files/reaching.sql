-- file: view with random
-- expect: not_authorized
-- query: SELECT * FROM v
CREATE VIEW v AS SELECT random() AS r;

-- file: view with load_extension
-- expect: not_authorized
-- query: SELECT * FROM v
CREATE VIEW v AS SELECT load_extension('/tmp/sense_attack') AS r;

-- file: view of a pragma
-- expect: not_authorized
-- query: SELECT * FROM v
CREATE VIEW v AS SELECT * FROM pragma_database_list;

-- file: view of dbstat without its columns
-- expect: not_authorized
-- query: SELECT count(*) FROM v
CREATE VIEW v AS SELECT 1 FROM dbstat;

-- file: views that read each other
-- expect: unknown_table
-- query: SELECT * FROM v
CREATE VIEW v AS SELECT * FROM w;
CREATE VIEW w AS SELECT * FROM v;

-- file: view of what is gone
-- expect: unknown_table
-- query: SELECT * FROM v
CREATE VIEW v AS SELECT * FROM gone;

-- file: triggers that delete
-- expect: not_authorized
-- query: INSERT INTO v VALUES (1)
CREATE TABLE t(a);
INSERT INTO t VALUES (1);
CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END;
CREATE VIEW v AS SELECT 1 AS a;
CREATE TRIGGER h INSTEAD OF INSERT ON v BEGIN DELETE FROM t; END;

-- file: generated column that reaches out
-- expect: not_authorized damaged
-- query: SELECT g FROM t
CREATE TABLE t(a, g AS (a));
INSERT INTO t(a) VALUES (1);
PRAGMA writable_schema = ON;
UPDATE sqlite_master SET sql = 'CREATE TABLE t(a, g AS (load_extension(a)))';

-- file: full text with a rank of its own
-- expect: not_authorized
-- query: SELECT rank FROM f WHERE f MATCH 'hello' ORDER BY rank
CREATE VIRTUAL TABLE f USING fts5(a);
INSERT INTO f VALUES ('hello');
INSERT INTO f(f, rank) VALUES ('rank', 'bm25(10.0)');
UPDATE f_config SET v = 'load_extension(1)' WHERE k = 'rank';

-- file: table that shadows a JSON function
-- expect: ok
-- query: SELECT value FROM json_each
CREATE TABLE json_each(value);
INSERT INTO json_each VALUES (1);

-- file: table that shadows a pragma, reached past it
-- expect: not_authorized unknown_table empty
-- query: SELECT file FROM temp.pragma_database_list
CREATE TABLE pragma_database_list(file);

-- file: table that shadows dbstat, reached past it
-- expect: not_authorized unknown_table empty unknown_column
-- query: SELECT path FROM temp.dbstat
CREATE TABLE dbstat(path);
