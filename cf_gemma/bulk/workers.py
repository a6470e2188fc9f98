"""So many at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cf_gemma.bulk.errors import BulkError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from cf_gemma.bulk.tally import Tally


async def at_once(count: int, work: Callable[[], Coroutine[None, None, None]], tally: Tally) -> None:
    """Runs so many of the same until all have ended.

    An error of one stops the run: the others end what they have under way, and then it is raised. That the input or
    the output can't be used any more is a reason to stop, and nothing more.
    """

    async def guarded() -> None:
        try:
            await work()
        except BulkError as error:
            tally.stop(str(error))
        except Exception as error:
            tally.stop(f"{type(error).__name__}: {error}")
            raise

    tasks = [asyncio.create_task(guarded()) for _ in range(count)]
    try:
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
    for error in ended:
        if error is not None:
            raise error
