"""Which statements a database may be built of, by their first words. Light: the building child imports it."""

import re

ALLOWED = re.compile(r"CREATE TABLE|CREATE (UNIQUE )?INDEX|INSERT|REPLACE")
