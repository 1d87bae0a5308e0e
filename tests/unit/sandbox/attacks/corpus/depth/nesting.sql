-- attack: parentheses
-- expect: syntax_error memory_limit
-- message: nested too deep|depth
SELECT <<40000 * (>>1<<40000 * )>>

-- attack: open parentheses
-- expect: syntax_error memory_limit
SELECT <<90000 * (>>

-- attack: parentheses that a person may write
-- expect: ok
SELECT <<50 * (>>1<<50 * )>>

-- attack: NOT chain
-- expect: syntax_error
-- message: nested too deep|depth
SELECT <<20000 * NOT >>1

-- attack: minus chain
-- expect: syntax_error
-- message: nested too deep|depth
SELECT <<30000 * - >>1

-- attack: tilde chain
-- expect: syntax_error
-- message: nested too deep|depth
SELECT <<90000 * ~>>1

-- attack: OR chain
-- expect: syntax_error
-- message: depth|deep
SELECT 1 WHERE 0<<5000 *  OR 0>>

-- attack: plus chain
-- expect: syntax_error
-- message: depth|deep
SELECT 1<<20000 *  + 1>>

-- attack: concatenation chain
-- expect: syntax_error
-- message: depth|deep
SELECT 'a'<<10000 *  || 'a'>>

-- attack: CASE nesting
-- expect: syntax_error
-- message: nested too deep|depth
SELECT <<3000 * CASE WHEN 1 THEN >>1<<3000 *  END>>

-- attack: CASE with many branches
-- expect: ok
SELECT CASE id<<3000 *  WHEN 9 THEN 1>> END FROM customer

-- attack: function nesting
-- expect: syntax_error
-- message: nested too deep|depth
SELECT <<5000 * abs(>>1<<5000 * )>>

-- attack: subquery nesting
-- expect: syntax_error memory_limit timeout
SELECT <<1000 * (SELECT >>1<<1000 * )>>

-- attack: subqueries in FROM
-- expect: syntax_error memory_limit timeout
<<1000 * SELECT * FROM (>>SELECT 1<<1000 * )>>

-- attack: EXISTS nesting
-- expect: syntax_error memory_limit timeout
<<500 * SELECT 1 WHERE EXISTS (>>SELECT 1<<500 * )>>

-- attack: IN nesting
-- expect: syntax_error memory_limit timeout
SELECT 1 WHERE <<500 * 1 IN (SELECT 1 WHERE >>1<<500 * )>>

-- attack: brackets
-- expect: syntax_error
SELECT <<90000 * [>>

-- attack: quotes
-- expect: syntax_error unknown_column
SELECT <<45001 * ">>

-- attack: nested comments
-- expect: ok
SELECT 1 <<19000 * /* */>>

-- attack: comment without end
-- expect: ok
SELECT 1 /*<<90000 * *>>

-- attack: COLLATE chain
-- expect: syntax_error ok
SELECT 'a'<<5000 *  COLLATE NOCASE>>

-- attack: arrow chain
-- expect: syntax_error
-- message: depth|deep
SELECT '{}'<<5000 *  -> 'a'>>

-- attack: BETWEEN chain
-- expect: syntax_error
SELECT 1<<5000 *  BETWEEN 0 AND 2>>

-- attack: window definitions
-- expect: row_limit syntax_error
SELECT sum(x) OVER w0 FROM many WINDOW w0 AS (ORDER BY x)<<500 * , w1 AS (w0)>>
