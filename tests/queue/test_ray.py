"""The example with Ray Data; where Ray isn't installed (`make ray` does that) it is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cf_gemma.emulator import Emulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_bulk.py"
PROGRAM = """
import os, runpy, sys
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
example = runpy.run_path(sys.argv[1])
example["main"](sys.argv[2], sys.argv[3], 60_000)
table = ray.data.read_parquet(sys.argv[3]).to_pandas()
print(table[["id", "text", "error"]].to_json(orient="records"))
"""


@pytest.mark.skipif(
    find_spec("ray") is None,
    reason="make ray installs it, 612 MB: https://docs.ray.io/en/latest/ray-overview/installation.html",
)
def test_two_workers_answer_every_row_once(tmp_path: Path) -> None:
    """Two local workers, each with its own client from the environment, write every row once into Parquet."""
    rows = [{"id": number, "prompt": f"word {number}"} for number in range(120)]
    source, target = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Emulator(lambda body: f"You said: {body['messages'][0]['content']}") as emulator:
        environment = {
            **os.environ,
            "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
            "CLOUDFLARE_API_TOKEN": emulator.api_token,
            "CLOUDFLARE_BASE_URL": emulator.base_url,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        command = [sys.executable, "-c", PROGRAM, EXAMPLE, source, target]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)  # noqa: S603 - our own
        assert done.returncode == 0, done.stderr
        assert len(emulator.requests) == len(rows)
    found = sorted(json.loads(done.stdout.splitlines()[-1]), key=lambda record: record["id"])
    assert found == [{"id": row["id"], "text": f"You said: {row['prompt']}", "error": ""} for row in rows]
    assert len(list(target.glob("*.parquet"))) >= 1
