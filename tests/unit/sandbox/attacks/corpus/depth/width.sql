-- attack: compound terms
-- expect: syntax_error
-- message: too many terms in compound SELECT
SELECT 1<<3000 *  UNION SELECT 1>>

-- attack: compound terms with EXCEPT and ORDER
-- expect: syntax_error
-- message: too many terms
SELECT 1<<3000 *  EXCEPT SELECT 2>> ORDER BY 1

-- attack: values of many rows
-- expect: row_limit ok
VALUES (0)<<15000 * , (1)>>

-- attack: IN list
-- expect: empty ok
SELECT id FROM customer WHERE id IN (0<<24000 * , 99>>)

-- attack: IN list of expressions
-- expect: empty ok timeout byte_limit syntax_error
SELECT id FROM customer WHERE id IN (0<<9000 * , id + 7>>)

-- attack: row values
-- expect: ok empty syntax_error
SELECT id FROM customer WHERE (id, name) IN (VALUES (9, '')<<8000 * , (9, '')>>)

-- attack: row value of many columns
-- expect: syntax_error ok
SELECT (1<<5000 * , 1>>) = (1<<5000 * , 1>>)

-- attack: arguments of a function
-- expect: type_or_function_error
-- message: too many arguments on function max
SELECT max(1<<5000 * , 1>>)

-- attack: order by many terms
-- expect: syntax_error byte_limit
-- message: too many terms in ORDER BY
SELECT 1 FROM customer ORDER BY id<<5000 * , name>>

-- attack: group by many terms
-- expect: syntax_error byte_limit
-- message: too many terms in GROUP BY
SELECT 1 FROM customer GROUP BY id<<5000 * , name>>

-- attack: many CTEs
-- expect: ok syntax_error
WITH a AS (SELECT 1)<<3000 * , b AS (SELECT 1)>> SELECT * FROM a

-- attack: USING of many columns
-- expect: syntax_error unknown_column
SELECT * FROM customer JOIN orders USING (id<<9000 * , id>>)

-- attack: long identifier
-- expect: unknown_column
SELECT <<90000 * n>> FROM customer

-- attack: long number
-- expect: ok
SELECT <<90000 * 9>>

-- attack: long hexadecimal number
-- expect: syntax_error
-- message: hex literal too big
SELECT 0x<<90000 * f>>

-- attack: exponent
-- expect: ok
SELECT 1e<<90000 * 9>>

-- attack: long blob literal
-- expect: ok
SELECT length(x'<<40000 * 00>>')

-- attack: text above the limit
-- expect: byte_limit
-- message: at most 100000
SELECT '<<100001 * x>>'

-- attack: many aggregates
-- expect: ok byte_limit
SELECT count(*)<<400 * , sum(x), group_concat(x)>> FROM many

-- attack: many window functions
-- expect: row_limit timeout
SELECT 1<<200 * , row_number() OVER (ORDER BY x)>> FROM many

-- attack: cells of many windows that differ
-- expect: row_limit timeout memory_limit
SELECT 1<<200 * , sum(x) OVER (ORDER BY x ROWS 500 PRECEDING)>> FROM many

-- attack: semicolons only
-- expect: syntax_error
-- message: no statement
<<90000 * ;>>

-- attack: line ends only
-- expect: syntax_error
-- message: no statement
<<9000 * ;<<U+000A>>>>
