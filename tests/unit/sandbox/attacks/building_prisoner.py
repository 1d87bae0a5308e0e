"""A prisoner in the place of a child that writes the files it is given."""

from services.sandbox.one_task import serve_on
from tests.unit.sandbox.attacks.prisoner import answer

if __name__ == "__main__":
    serve_on(answer, writes=True)
