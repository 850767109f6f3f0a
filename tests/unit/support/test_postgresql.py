"""The private PostgreSQL clusters of the tests."""

import psycopg
import pytest

from tests.integration.server.service import until
from tests.support.postgresql import PASSWORD, cluster


@pytest.mark.external
def test_standby_is_promoted_after_the_primary_is_killed() -> None:
    with cluster(auth="scram-sha-256", durable=True) as primary:
        standby, name = primary.standby(), primary.create_database()
        primary.execute("CREATE TABLE rows (id integer); INSERT INTO rows VALUES (1)", database=name)
        until(lambda: primary.execute("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication") == [(True,)])
        primary.kill()
        standby.promote()
        url = primary.url(name, standby, password=PASSWORD, target_session_attrs="read-write")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT id FROM rows").fetchall() == [(1,)]
            assert connection.info.port == standby.port
        primary.start()
        primary.empty_database(name)
        assert primary.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database=name) == [(0,)]
    assert not primary.folder.exists()
    assert not standby.folder.exists()
