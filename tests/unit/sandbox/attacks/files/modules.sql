-- file: table of the module csv
-- expect: unknown_table
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING csv(filename=/etc/passwd)');

-- file: table of the module dbstat
-- expect: ok
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING dbstat(main)');

-- file: table of the module fts5
-- expect: unknown_table type_or_function_error syntax_error
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING fts5(body)');

-- file: table of the module fts4
-- expect: unknown_table not_authorized type_or_function_error syntax_error empty ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING fts4(body, tokenize=icu)');

-- file: table of the module rtree
-- expect: unknown_table not_authorized type_or_function_error syntax_error empty ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING rtree(id, a, b)');

-- file: table of the module fts3tokenize
-- expect: unknown_table not_authorized type_or_function_error syntax_error empty ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING fts3tokenize(simple)');

-- file: table of the module carray
-- expect: unknown_table not_authorized type_or_function_error syntax_error empty ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING carray');

-- file: table of the module json_each
-- expect: unknown_table not_authorized type_or_function_error syntax_error empty ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING json_each');

-- file: table of the module fts5vocab
-- expect: unknown_table not_authorized type_or_function_error syntax_error empty ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING fts5vocab(f, row)');

-- file: table of the module no_such
-- expect: unknown_table
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING no_such');

-- file: table of the module pragma_table_info
-- expect: unknown_table not_authorized type_or_function_error syntax_error empty ok damaged
-- query: SELECT count(*) FROM f
CREATE TABLE t(a);
PRAGMA writable_schema = ON;
INSERT INTO sqlite_master VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING pragma_table_info');
