-- attack: new file
-- expect: not_authorized
-- message: attach /tmp/sense_attack
ATTACH '/tmp/sense_attack.sqlite' AS n

-- attack: by an expression
-- expect: not_authorized
-- message: attach
ATTACH '/tmp/sense_' || 'attack' AS n

-- attack: by a URI
-- expect: not_authorized
-- message: attach
ATTACH 'file:/tmp/sense_attack.sqlite?mode=rwc' AS n

-- attack: in memory
-- expect: not_authorized
-- message: attach :memory:
ATTACH ':memory:' AS n

-- attack: temporary
-- expect: not_authorized
-- message: attach
ATTACH '' AS n

-- attack: a file of the system
-- expect: not_authorized
-- message: attach /etc/passwd
ATTACH DATABASE '/etc/passwd' AS n

-- attack: with a key
-- expect: not_authorized
-- message: attach
ATTACH '/tmp/sense_attack' AS n KEY 'x'

-- attack: detach
-- expect: not_authorized
-- message: detach main
DETACH main

-- attack: schema that is not there
-- expect: unknown_table
-- message: other.customer
SELECT * FROM other.customer
