"""The garbage collector may close an abandoned stream at any moment, also within the HTTP library's own lock."""

from __future__ import annotations

from tests.faults.children import run
from tests.faults.scenarios import STREAM, A
from tests.faultserver import HOLD, FaultServer, chunk, stream_head

ABANDON = """
    import gc, sys
    import httpcore
    from cf_gemma import Gemma

    pool, collections = httpcore.ConnectionPool, []
    assign = pool._assign_requests_to_connections

    def assign_while_collecting(self):
        # Called with the pool's lock held, by the thread that holds it.
        collections.append(gc.collect())
        return assign(self)

    model = Gemma("acc", "token", base_url=sys.argv[1])
    gc.disable()
    for _ in range(3):
        stream = model.stream("hi")
        print(next(stream).text)
        cycle = [stream]
        cycle.append(cycle)
        del stream, cycle
        pool._assign_requests_to_connections = assign_while_collecting
        print(model.chat("hi").text)
        pool._assign_requests_to_connections = assign
    assert max(collections) > 0, "nothing was collected"
    print("done")
"""


def test_an_abandoned_stream_collected_within_the_pools_lock() -> None:
    """A half-read stream in a reference cycle, collected while this thread holds the pool's lock, doesn't hang it."""
    half = [stream_head(), chunk(A), HOLD]
    with FaultServer(half, STREAM, half, STREAM, half, STREAM) as server:
        assert run(ABANDON, server.url, seconds=10) == ["a", "ab"] * 3 + ["done"]
        assert len(server.requests) == 6
        assert server.wait_until_closed()
