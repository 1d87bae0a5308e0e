-- attack: like that backtracks
-- expect: timeout ok byte_limit
SELECT hex(zeroblob(40000)) LIKE '<<20 * %0>>1'

-- attack: like that backtracks for many rows
-- expect: ok timeout
SELECT count(*) FROM many WHERE hex(zeroblob(2000 + x)) LIKE '<<60 * %0>>%1'

-- attack: glob that backtracks
-- expect: timeout ok
SELECT hex(zeroblob(40000)) GLOB '<<60 * *0>>*1'

-- attack: glob of classes
-- expect: timeout ok
SELECT hex(zeroblob(40000)) GLOB '<<30 * *[0-9]>>z'

-- attack: pattern longer than allowed
-- expect: type_or_function_error
-- message: pattern too complex
SELECT name LIKE '<<500 * %a>>' FROM customer

-- attack: like with many underscores
-- expect: timeout ok
SELECT count(*) FROM many WHERE hex(zeroblob(40000)) LIKE '%<<90 * _%>>1'

-- attack: regexp has no function
-- expect: type_or_function_error
-- message: no such function: REGEXP
SELECT name FROM customer WHERE name REGEXP '(a+)+$'

-- attack: full-text query of many prefixes
-- expect: ok empty timeout
SELECT count(*) FROM docs WHERE docs MATCH '<<200 * a* OR >>b*'

-- attack: full-text query that nests
-- expect: ok empty timeout syntax_error type_or_function_error
SELECT count(*) FROM docs WHERE docs MATCH '<<400 * (>>a<<400 * )>>'

-- attack: full-text near of many
-- expect: ok empty timeout syntax_error
SELECT count(*) FROM docs WHERE docs MATCH 'NEAR(<<300 * a >>, 1000000)'
