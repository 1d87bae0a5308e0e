-- attack: load_extension
-- expect: not_authorized
-- message: function load_extension
SELECT load_extension('/tmp/sense_attack.so')

-- attack: load_extension with an entry point
-- expect: not_authorized
-- message: function load_extension
SELECT load_extension('/tmp/sense_attack.so', 'sqlite3_extension_init')

-- attack: readfile
-- expect: not_authorized type_or_function_error
-- message: readfile
SELECT readfile('/etc/passwd')

-- attack: writefile
-- expect: not_authorized type_or_function_error
-- message: writefile
SELECT writefile('/tmp/sense_attack', 'x')

-- attack: edit
-- expect: type_or_function_error not_authorized
-- message: edit
SELECT edit('x', 'touch /tmp/sense_attack')

-- attack: lsdir
-- expect: not_authorized unknown_table
-- message: lsdir
SELECT lsdir('/') FROM lsdir('/')

-- attack: fsdir
-- expect: not_authorized unknown_table
-- message: fsdir
SELECT name FROM fsdir('/tmp')

-- attack: zipfile
-- expect: not_authorized unknown_table
-- message: zipfile
SELECT * FROM zipfile('/tmp/sense_attack.zip')

-- attack: zipfile as an aggregate
-- expect: type_or_function_error
-- message: zipfile
SELECT zipfile(name, city) FROM customer

-- attack: sqlar
-- expect: type_or_function_error
-- message: sqlar_uncompress
SELECT sqlar_uncompress(x'00', 1)

-- attack: csv table
-- expect: unknown_table
-- message: csv
SELECT * FROM csv('/etc/passwd')

-- attack: fts3_tokenizer
-- expect: not_authorized type_or_function_error
-- message: fts3_tokenizer
SELECT fts3_tokenizer('simple')

-- attack: fts3_tokenizer with a pointer
-- expect: not_authorized type_or_function_error
-- message: fts3_tokenizer
SELECT fts3_tokenizer('simple', x'4141414141414141')

-- attack: fts5 pointer
-- expect: not_authorized
-- message: function fts5
SELECT fts5(NULL)

-- attack: fts3tokenize as a table
-- expect: not_authorized unknown_table
-- message: fts3tokenize
SELECT * FROM fts3tokenize('simple', 'a b')

-- attack: dbstat
-- expect: not_authorized
-- message: dbstat
SELECT count(*) FROM dbstat

-- attack: dbstat with columns
-- expect: not_authorized
-- message: dbstat
SELECT name, path FROM dbstat('main')

-- attack: sqlite_dbpage
-- expect: not_authorized unknown_table
-- message: sqlite_dbpage
SELECT data FROM sqlite_dbpage WHERE pgno = 1

-- attack: bytecode
-- expect: not_authorized unknown_table
-- message: bytecode
SELECT * FROM bytecode('SELECT 1')

-- attack: tables_used
-- expect: not_authorized unknown_table
-- message: tables_used
SELECT * FROM tables_used('SELECT 1')

-- attack: sqlite_stmt
-- expect: not_authorized unknown_table
-- message: sqlite_stmt
SELECT sql FROM sqlite_stmt

-- attack: completion
-- expect: not_authorized unknown_table
-- message: completion
SELECT candidate FROM completion('SEL')

-- attack: carray with a forged pointer
-- expect: not_authorized
-- message: carray
SELECT value FROM carray(140737488351232, 100, 'int64')

-- attack: carray counted
-- expect: not_authorized
-- message: carray
SELECT count(*) FROM carray(140737488351232, 100, 'char*')

-- attack: generate_series
-- expect: not_authorized unknown_table
-- message: generate_series
SELECT count(*) FROM generate_series(1, 9000000000000000000)

-- attack: random
-- expect: not_authorized
-- message: function random
SELECT random()

-- attack: random order
-- expect: not_authorized
-- message: function random
SELECT name FROM customer ORDER BY RANDOM() LIMIT 1

-- attack: randomblob
-- expect: not_authorized
-- message: function randomblob
SELECT randomblob(16)

-- attack: sqlite_offset
-- expect: type_or_function_error not_authorized
-- message: sqlite_offset
SELECT sqlite_offset(name) FROM customer

-- attack: sqlite_log
-- expect: ok not_authorized type_or_function_error
SELECT sqlite_log(1, 'x')

-- attack: rtreecheck
-- expect: ok not_authorized type_or_function_error
SELECT rtreecheck('main', 'places')

-- attack: rtreenode of a forged page
-- expect: ok not_authorized type_or_function_error
SELECT rtreenode(2, zeroblob(20000)), rtreedepth(x'ffff')

-- attack: full-text optimize
-- expect: type_or_function_error
-- message: optimize
SELECT optimize(docs) FROM docs

-- attack: fts5 helper outside of a search
-- expect: type_or_function_error ok
SELECT bm25(docs), highlight(docs, 0, '<', '>'), snippet(docs, 0, '', '', '', 1000000) FROM docs

-- attack: matchinfo of another kind of table
-- expect: type_or_function_error
-- message: matchinfo
SELECT matchinfo(docs) FROM docs WHERE docs MATCH 'hello'

-- attack: getenv and system of other builds
-- expect: type_or_function_error
-- message: getenv
SELECT getenv('HOME')

-- attack: sha3_query
-- expect: type_or_function_error
-- message: sha3_query
SELECT sha3_query('DELETE FROM customer')

-- attack: eval
-- expect: type_or_function_error
-- message: eval
SELECT eval('DELETE FROM customer')

-- attack: match on a pointer
-- expect: type_or_function_error
-- message: MATCH
SELECT name MATCH 'x' FROM customer

-- attack: geopoly debug switch
-- expect: ok not_authorized type_or_function_error
SELECT geopoly_debug(1)

-- attack: subtype and pointer passing
-- expect: ok type_or_function_error not_authorized
SELECT subtype(json('1')), likelihood(1, 0.5)

-- attack: clock, which may be read
-- expect: ok
SELECT length(current_timestamp), date('now') > '2000', typeof(unixepoch())

-- attack: build and version, which may be read
-- expect: ok
SELECT sqlite_version(), sqlite_source_id(), sqlite_compileoption_used('DEBUG'), changes(), total_changes(), last_insert_rowid()
