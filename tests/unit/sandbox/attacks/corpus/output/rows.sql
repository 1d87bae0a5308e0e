-- attack: rows without end
-- expect: row_limit timeout
-- message: more than 1000 rows
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c

-- attack: rows without end, each long
-- expect: byte_limit row_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT hex(zeroblob(400000)) FROM c

-- attack: rows without end, each slow
-- expect: row_limit timeout
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT length(hex(zeroblob(400000))) FROM c

-- attack: one row of many cells
-- expect: ok
SELECT 1<<400 * , 1>>

-- attack: one row of too many cells
-- expect: syntax_error
-- message: too many columns in result set
SELECT 1<<2100 * , 1>>

-- attack: one row of huge cells
-- expect: byte_limit memory_limit timeout killed
SELECT zeroblob(1000000)<<250 * , zeroblob(1000000)>>

-- attack: one row of long texts
-- expect: byte_limit memory_limit timeout killed
SELECT hex(zeroblob(499000))<<250 * , hex(zeroblob(499000))>>

-- attack: wide rows by star
-- expect: row_limit timeout byte_limit
SELECT *, * FROM many a, many b, many c, many d, many e, many f, many g, many h

-- attack: long column names
-- expect: ok
SELECT 1 AS "<<60000 * n>>"

-- attack: cells that JSON writes six times as long
-- expect: ok byte_limit timeout row_limit
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 900) SELECT replace(hex(zeroblob(200000)), '00', char(1)) FROM c

-- attack: infinite numbers and not numbers
-- expect: ok
SELECT 9e999, -9e999, 0.0 / 0.0, 9e999 - 9e999, 1e-320, -0.0

-- attack: largest integers
-- expect: ok
SELECT 9223372036854775807, -9223372036854775808, 9223372036854775808

-- attack: no columns at all
-- expect: syntax_error
SELECT FROM customer
