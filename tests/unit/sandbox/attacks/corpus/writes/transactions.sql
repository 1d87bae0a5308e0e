-- attack: begin
-- expect: not_authorized
-- message: transaction
BEGIN

-- attack: begin exclusive
-- expect: not_authorized
-- message: transaction
BEGIN EXCLUSIVE

-- attack: begin immediate
-- expect: not_authorized
-- message: transaction
BEGIN IMMEDIATE TRANSACTION

-- attack: commit
-- expect: not_authorized
-- message: transaction
COMMIT

-- attack: rollback
-- expect: not_authorized
-- message: transaction
ROLLBACK

-- attack: savepoint
-- expect: not_authorized
-- message: savepoint
SAVEPOINT s

-- attack: release
-- expect: not_authorized
-- message: savepoint
RELEASE s

-- attack: rollback to
-- expect: not_authorized
-- message: savepoint
ROLLBACK TO s
