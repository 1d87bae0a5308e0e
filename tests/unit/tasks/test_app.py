"""What Celery is told, where forgetting it lets a worker stand still."""

from shared.tasks.app import make_app


def test_a_read_of_the_broker_is_not_repeated_on_a_new_connection() -> None:
    """A worker that was paused while Redis restarted waited there for ever, alive on the board (`make chaos`)."""
    options = make_app().conf.broker_transport_options
    assert options["retry_on_timeout"] is False
    assert 1 < options["socket_timeout"] <= 30, "longer than kombu's own BRPOP"
