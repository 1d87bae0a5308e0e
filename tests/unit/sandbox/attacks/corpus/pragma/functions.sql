-- attack: table_info
-- expect: not_authorized
-- message: pragma_table_info
SELECT * FROM pragma_table_info('customer')

-- attack: counted only
-- expect: not_authorized
-- message: pragma_database_list
SELECT count(*) FROM pragma_database_list

-- attack: upper case
-- expect: not_authorized
-- message: (?i)pragma_database_list
SELECT count(*) FROM PRAGMA_DATABASE_LIST

-- attack: quoted and qualified
-- expect: not_authorized
-- message: pragma_function_list
SELECT 1 FROM main."pragma_function_list" LIMIT 1

-- attack: in a subquery without columns
-- expect: not_authorized
-- message: pragma_module_list
SELECT EXISTS (SELECT 1 FROM pragma_module_list)

-- attack: schema by an argument
-- expect: not_authorized
SELECT * FROM pragma_table_xinfo('customer', 'main')

-- attack: quick_check
-- expect: not_authorized
SELECT * FROM pragma_quick_check

-- attack: shadowed by a CTE, which is harmless
-- expect: not_authorized ok
WITH pragma_database_list AS (SELECT 1 AS one) SELECT one FROM pragma_database_list
