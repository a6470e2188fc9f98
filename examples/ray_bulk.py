"""A file of prompts answered by workers on as many machines as Ray has, into Parquet; a killed job goes on.

pip install "cf-gemma[ray]"
python ray_bulk.py questions.jsonl answers/

Each row has an `id`. Each worker makes a client of its own, with the account and the token of its machine's
environment: set them there.
"""

import sys

import ray  # pyright: ignore[reportMissingImports] - 600 MB, and not among our tools

from cf_gemma.ray import answered, unanswered


def main(source: str, target: str, rpm: int = 300) -> None:
    """Reads, answers, writes."""
    rows = ray.data.read_json(source, lines=True)
    answered(unanswered(rows, target), workers=2, rpm=rpm, max_tokens=500).write_parquet(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
