"""Many rows: read from a file, answered, and written to another, from which a stopped run continues.

    from cf_gemma.bulk import Bulk

    tally = Bulk("questions.jsonl", "answers.jsonl", max_cost=2.50).run()
    print(tally.done, tally.failed, tally.cost)

The command `cf-gemma batch` is a shell over this.
"""

from __future__ import annotations

from cf_gemma.bulk.errors import BulkError, OutputExists, QueueHoldsRows
from cf_gemma.bulk.estimate import Estimate
from cf_gemma.bulk.job import Bulk
from cf_gemma.bulk.rows import BadLines
from cf_gemma.bulk.tally import Tally

__all__ = ["BadLines", "Bulk", "BulkError", "Estimate", "OutputExists", "QueueHoldsRows", "Tally"]
