"""The database's time in a process whose own may be wrong."""

from datetime import UTC, datetime, timedelta

from stella_health_worker.clock import DatabaseClock


def test_it_tells_what_the_database_said_and_goes_on_from_there() -> None:
    clock = DatabaseClock()
    an_hour_off = datetime.now(UTC) + timedelta(hours=1)

    clock.hear(an_hour_off)
    clock.hear(None)

    first = clock.now()
    assert timedelta() <= first - an_hour_off < timedelta(minutes=1)
    assert clock.now() >= first


def test_until_it_has_heard_it_tells_this_hosts_time() -> None:
    assert abs(DatabaseClock().now() - datetime.now(UTC)) < timedelta(minutes=1)
