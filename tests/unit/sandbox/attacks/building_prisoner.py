"""A prisoner in the place of a child that writes the files it is given."""

from services.sandbox.execution.child_loop import serve_requests
from tests.unit.sandbox.attacks.prisoner import answer

if __name__ == "__main__":
    serve_requests(answer, writes=True)
