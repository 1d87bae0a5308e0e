"""Flower behind the guard of our other HTTP services: `python -m shared.tasks.flower`, with the options of Flower.

Flower asks for a name and a password if FLOWER_BASIC_AUTH is set. Once a browser knows them, it also sends them with
requests from pages of other sites. The guard refuses such pages, and those whose host name was pointed at this machine.
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
    """Flower that checks Host and Origin before its built-in authentication."""

    guard = Guard.from_settings()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        refusal = self.guard.page_refusal(request.method or "", request.path, request.headers)
        if refusal is not None:
            return self.get_handler_delegate(request, Refusing, {"refusal": refusal})
        return super().find_handler(request, **kwargs)


class Refusing(RequestHandler):
    """Answers every request with a refusal."""

    def initialize(self, refusal: Refusal) -> None:
        self.refusal = refusal

    def check_xsrf_cookie(self) -> None:
        """No request does anything here, so there is nothing to forge."""

    def prepare(self) -> None:
        """Ends the request before Tornado looks at its method."""
        self.set_status(self.refusal.status)
        for name, value in self.refusal.headers():
            self.set_header(name, value)
        self.finish(self.refusal.body())


def main() -> None:
    if not os.environ.get("FLOWER_BASIC_AUTH"):
        print("FLOWER_BASIC_AUTH is not set: every program on this machine may use Flower", file=sys.stderr)
    # the `flower` command looks its class up here
    flower.command.Flower = GuardedFlower
    app.start(["flower", *sys.argv[1:]])


if __name__ == "__main__":
    main()
