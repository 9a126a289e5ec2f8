"""The query for the number of partitions."""

from __future__ import annotations

import threading
import time

from forebay.schemas.errors import ForebayError
from forebay.stream.config.sections import Settings
from forebay.stream.supervisor.partition_count import fork_query


def test_a_query_that_is_cancelled_ends_although_the_brokers_do_not_answer() -> None:
    def count(_settings: Settings) -> int:
        time.sleep(600)
        return 1

    query = fork_query(Settings(), count)
    found: list[int | ForebayError] = []
    waiting = threading.Thread(target=lambda: found.append(query.wait()), daemon=True)
    waiting.start()
    query.cancel()
    waiting.join(timeout=10)
    assert [type(one) for one in found] == [ForebayError]
