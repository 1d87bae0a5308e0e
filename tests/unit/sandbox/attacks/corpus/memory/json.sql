-- attack: json that grows by itself
-- expect: byte_limit timeout
WITH RECURSIVE j(d) AS (SELECT '[1]' UNION ALL SELECT json_array(json(d), json(d)) FROM j) SELECT max(length(d)) FROM j

-- attack: json nested by recursion
-- expect: type_or_function_error byte_limit timeout
WITH RECURSIVE j(n, d) AS (SELECT 0, '1' UNION ALL SELECT n + 1, '[' || d || ']' FROM j LIMIT 5000) SELECT max(length(json(d))) FROM j

-- attack: json text that nests deep
-- expect: type_or_function_error
-- message: malformed JSON
SELECT json('<<20000 * [>>')

-- attack: json_tree over a large document
-- expect: timeout byte_limit ok memory_limit
SELECT count(*) FROM json_tree('[' || replace(hex(zeroblob(60000)), '00', '{"a":[1,2]},') || '1]') a, json_tree(a.json) b

-- attack: json_each over json_each
-- expect: timeout
SELECT count(*) FROM json_each('[<<2000 * 1,>>1]') a, json_each('[<<2000 * 1,>>1]') b, json_each('[<<2000 * 1,>>1]') c

-- attack: json_set of many paths
-- expect: ok byte_limit type_or_function_error
SELECT length(json_set('{}'<<300 * , '$.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa[0].b', zeroblob(0) || 'x'>>))

-- attack: json_patch that grows
-- expect: ok byte_limit type_or_function_error timeout
WITH RECURSIVE j(n, d) AS (SELECT 0, '{"a":1}' UNION ALL SELECT n + 1, json_patch(d, json_object('k' || n, json(d))) FROM j) SELECT max(length(d)) FROM j

-- attack: json index far away
-- expect: ok byte_limit memory_limit type_or_function_error
SELECT json_set('[]', '$[99999999999]', 1)

-- attack: json pretty with a long indent
-- expect: byte_limit memory_limit
SELECT json_pretty('[<<300 * [1],>>1]', hex(zeroblob(400000)))
