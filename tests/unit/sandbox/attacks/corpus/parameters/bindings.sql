-- attack: question mark
-- expect: syntax_error
-- message: parameter
SELECT name FROM customer WHERE id = ?

-- attack: numbered
-- expect: syntax_error
-- message: parameter
SELECT ?32766

-- attack: number too large
-- expect: syntax_error
-- message: variable number must be between
SELECT ?99999999

-- attack: named
-- expect: syntax_error
-- message: parameter
SELECT :a, @b, $c

-- attack: tcl name
-- expect: syntax_error
-- message: parameter
SELECT $a::b(c)

-- attack: many
-- expect: syntax_error
-- message: parameter|too many SQL variables
SELECT ?<<40000 * ,?>>

-- attack: in a limit
-- expect: syntax_error
-- message: parameter
SELECT 1 LIMIT ?

-- attack: number zero
-- expect: syntax_error
-- message: variable number must be between
SELECT ?0
