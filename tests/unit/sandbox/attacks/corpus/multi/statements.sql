-- attack: plain
-- expect: multi_statement
-- message: DELETE FROM customer
SELECT 1; DELETE FROM customer

-- attack: without blanks
-- expect: multi_statement
-- message: DROP TABLE customer
SELECT 1;DROP TABLE customer;

-- attack: empty first
-- expect: not_authorized
-- message: delete customer
;;; DELETE FROM customer

-- attack: empty first, then two
-- expect: multi_statement
-- message: SELECT 2
; SELECT 1; SELECT 2

-- attack: after a line comment
-- expect: multi_statement
-- message: DELETE
SELECT 1; -- that was it
DELETE FROM customer

-- attack: after a block comment
-- expect: multi_statement
-- message: DELETE
SELECT 1; /* ; */ DELETE FROM customer

-- attack: in a comment, which is harmless
-- expect: ok
SELECT 1 /* ; DELETE FROM customer */ -- ; DELETE FROM customer

-- attack: a comment that only seems to go on
-- expect: multi_statement
-- message: DELETE
SELECT 1; /* /* */ DELETE FROM customer -- */

-- attack: a literal that only seems to go on
-- expect: multi_statement
-- message: DELETE
SELECT 'it''s'; DELETE FROM customer; --'

-- attack: a comment first, then two
-- expect: multi_statement
-- message: SELECT 2
/* a */ -- b
SELECT 1; SELECT 2

-- attack: broken second
-- expect: multi_statement
-- message: DELET
SELECT 1; DELET FROM

-- attack: broken first
-- expect: syntax_error
-- message: near "SELEC"
SELEC 1; DELETE FROM customer

-- attack: an unfinished second
-- expect: multi_statement
SELECT 1; "

-- attack: forty thousand
-- expect: multi_statement
SELECT 1<<9000 * ;SELECT 1>>

-- attack: begin, delete, commit
-- expect: not_authorized multi_statement
BEGIN; DELETE FROM customer; COMMIT

-- attack: explain first
-- expect: multi_statement
EXPLAIN SELECT 1; DELETE FROM customer

-- attack: dot command
-- expect: syntax_error
-- message: near "\."
.shell touch /tmp/sense_attack

-- attack: dot command after a statement
-- expect: multi_statement syntax_error
SELECT 1;
.output /tmp/sense_attack
