-- attack: query_only off
-- expect: not_authorized
-- message: pragma query_only
PRAGMA query_only = 0

-- attack: writable_schema
-- expect: not_authorized
-- message: pragma writable_schema
PRAGMA writable_schema = ON

-- attack: journal_mode
-- expect: not_authorized
-- message: pragma journal_mode
PRAGMA main.journal_mode = WAL

-- attack: reading a pragma
-- expect: not_authorized
-- message: pragma table_info
PRAGMA table_info(customer)

-- attack: database_list
-- expect: not_authorized
-- message: pragma database_list
PRAGMA database_list

-- attack: temp_store_directory
-- expect: not_authorized syntax_error
-- message: temp_store_directory
PRAGMA temp_store_directory = '/tmp/sense_attack'

-- attack: data_store_directory
-- expect: not_authorized empty
PRAGMA data_store_directory = '/tmp/sense_attack'

-- attack: hard_heap_limit
-- expect: not_authorized
PRAGMA hard_heap_limit = 0

-- attack: mmap_size
-- expect: not_authorized
PRAGMA mmap_size = 1000000000000

-- attack: trusted_schema
-- expect: not_authorized
PRAGMA trusted_schema = 1

-- attack: integrity_check
-- expect: not_authorized
PRAGMA integrity_check

-- attack: wal_checkpoint
-- expect: not_authorized
PRAGMA wal_checkpoint(TRUNCATE)

-- attack: optimize
-- expect: not_authorized
PRAGMA optimize(0x10002)

-- attack: user_version
-- expect: not_authorized
PRAGMA user_version = 7

-- attack: busy_timeout
-- expect: not_authorized
PRAGMA busy_timeout = 1000000000

-- attack: cache_spill and cache_size
-- expect: not_authorized
PRAGMA cache_size = -100000000

-- attack: threads
-- expect: not_authorized
PRAGMA threads = 8

-- attack: the one pragma that full-text search needs, with a value
-- expect: ok not_authorized
PRAGMA data_version = 7

-- attack: activate_extensions of other builds
-- expect: not_authorized
PRAGMA activate_extensions('see-7bb07b8d471d642e')

-- attack: key
-- expect: not_authorized
PRAGMA key = 'x'

-- attack: no pragma at all
-- expect: not_authorized empty
PRAGMA no_such_pragma = 1
