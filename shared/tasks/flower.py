"""Flower behind the check of our other HTTP services: `python -m shared.tasks.flower`, with Flower's own options.

Flower asks for a name and a password where FLOWER_BASIC_AUTH is set. A browser sends them by itself once it knows them,
with what another site's page asks too: that page is refused here, and one that had its name point to this machine.
"""

import os
import sys
from typing import Any

import flower.command
from flower.app import Flower
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from shared.http.guard import Guard, Refusal
from shared.tasks.app import app


class GuardedFlower(Flower):  # type: ignore[misc]
    """Flower that looks at Host and Origin before anything else. Its own authentication comes after."""

    guard = Guard.from_settings()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """The handler of a request."""
        refusal = self.guard.page_refusal(request.method or "", request.path, request.headers)
        if refusal is not None:
            return self.get_handler_delegate(request, Refusing, {"refusal": refusal})
        return super().find_handler(request, **kwargs)


class Refusing(RequestHandler):
    """The answer to a caller who may not, whatever was asked."""

    def initialize(self, refusal: Refusal) -> None:
        """By Tornado, with what was found."""
        self.refusal = refusal

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that a page could forge."""

    def prepare(self) -> None:
        """Ends the request before its method is looked at."""
        self.set_status(self.refusal.status)
        for name, value in self.refusal.headers():
            self.set_header(name, value)
        self.finish(self.refusal.body())


def main() -> None:
    """Serves until SIGTERM."""
    if not os.environ.get("FLOWER_BASIC_AUTH"):
        print("FLOWER_BASIC_AUTH is not set: every program on this machine may use Flower", file=sys.stderr)
    flower.command.Flower = GuardedFlower
    app.start(["flower", *sys.argv[1:]])


if __name__ == "__main__":
    main()
