-- attack: NUL after the statement
-- expect: syntax_error
-- message: NUL
SELECT 1<<U+0000>>; DELETE FROM customer

-- attack: NUL inside a literal
-- expect: syntax_error
-- message: NUL
SELECT '<<U+0000>>'

-- attack: lone surrogate
-- expect: syntax_error
-- message: Unicode
SELECT '<<U+D800>>'

-- attack: surrogate pair written as two
-- expect: syntax_error
-- message: Unicode
SELECT '<<U+D83D>><<U+DE00>>'

-- attack: byte order mark first
-- expect: ok
<<U+FEFF>>SELECT 1

-- attack: byte order mark of the other kind
-- expect: syntax_error
<<U+FFFE>>SELECT 1

-- attack: right-to-left marks
-- expect: ok
SELECT '<<U+202E>>evil<<U+202C>>' AS a /*<<U+202E>> } ⁦if (admin)⁩ ⁦ begin */

-- attack: no-break space after the end
-- expect: multi_statement
SELECT 1;<<U+00A0>>

-- attack: no-break space hides a second statement
-- expect: multi_statement
SELECT 1;<<U+00A0>>DELETE FROM customer

-- attack: line separator ends no comment
-- expect: ok
SELECT 1 --<<U+2028>>; DELETE FROM customer

-- attack: vertical tab is no blank
-- expect: multi_statement
SELECT 1;<<U+000B>>DELETE FROM customer

-- attack: carriage return ends no comment
-- expect: ok
SELECT 1 --<<U+000D>>; DELETE FROM customer

-- attack: full-width letters
-- expect: syntax_error
-- message: ＳＥＬＥＣＴ
ＳＥＬＥＣＴ 1

-- attack: greek question mark is no semicolon
-- expect: multi_statement syntax_error
-- message: ;
SELECT 1;<<U+037E>> DELETE FROM customer

-- attack: text that is not UTF-8
-- expect: ok decode_error
SELECT CAST(x'61ff62' AS TEXT)

-- attack: overlong slash
-- expect: ok decode_error
SELECT CAST(x'c0af' AS TEXT)

-- attack: surrogates as bytes
-- expect: ok decode_error
SELECT CAST(x'eda080edb080' AS TEXT)

-- attack: beyond the last character
-- expect: ok decode_error
SELECT CAST(x'f4908080' AS TEXT), char(1114112), char(55296), unicode(CAST(x'f7bfbfbf' AS TEXT))

-- attack: text cut inside a character
-- expect: ok decode_error
SELECT substr(CAST(x'e282' AS TEXT), 1), CAST(x'f09f98' AS TEXT)

-- attack: NUL in a result
-- expect: ok
SELECT 'a' || char(0) || 'b', CAST(x'00' AS TEXT)

-- attack: not UTF-8 as a column name
-- expect: ok
SELECT 1 AS "<<U+FFFD>><<U+E000>><<U+10FFFF>>"

-- attack: surrogate by JSON
-- expect: ok decode_error
SELECT json_extract('"\ud800"', '$'), json('"\udfff"') ->> '$'

-- attack: not UTF-8 in an aggregate and an order
-- expect: ok decode_error empty
SELECT group_concat(v, CAST(x'ff' AS TEXT)) FROM (SELECT CAST(x'fe' AS TEXT) AS v UNION SELECT CAST(x'ff' AS TEXT) ORDER BY 1)

-- attack: not UTF-8 in an error
-- expect: type_or_function_error
SELECT json(CAST(x'7bff' AS TEXT))

-- attack: emoji as a name
-- expect: unknown_column
-- message: 😀
SELECT 😀 FROM customer

-- attack: combining marks without end
-- expect: ok
SELECT 'a<<20000 * ́>>'

-- attack: byte order mark after the end
-- expect: ok
SELECT 1;<<U+FEFF>> -- and no more

-- attack: no-break space first
-- expect: syntax_error
<<U+00A0>>SELECT 1
