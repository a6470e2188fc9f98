"""A file of prompts answered by workers on as many machines as Ray has, into Parquet.

pip install "ray[data]"
python ray_bulk.py questions.jsonl answers/

Each worker makes a client of its own, with the account and the token of its machine's environment: set them there.
"""

import asyncio
import sys
from typing import Any

import ray  # pyright: ignore[reportMissingImports] - 600 MB, and not among our tools
from ray.data import ActorPoolStrategy  # pyright: ignore[reportMissingImports] - the same

from cf_gemma import AsyncGemma, GemmaError

WORKERS = 2
RPM = 300  # requests a minute, of the account: the workers share them


class Answers:
    """One worker: a client, and a share of the requests a minute."""

    def __init__(self, rpm: float) -> None:
        self.gemma = AsyncGemma(max_tokens=500, max_retries=5)
        self.gap = 60 / rpm
        self.loop = asyncio.Runner()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with its answers."""
        answers = self.loop.run(self.answers(batch["prompt"].tolist()))
        for column in ("text", "cost", "error"):
            batch[column] = [answer[column] for answer in answers]
        return batch

    async def answers(self, prompts: list[str]) -> list[dict[str, Any]]:
        """All at once, each at its moment."""
        return await asyncio.gather(*(self.answer(prompt, self.gap * n) for n, prompt in enumerate(prompts)))

    async def answer(self, prompt: str, wait: float) -> dict[str, Any]:
        """One answer, or why there is none."""
        await asyncio.sleep(wait)
        try:
            completion = await self.gemma.chat(prompt)
        except GemmaError as error:
            return {"text": "", "cost": 0.0, "error": str(error)}
        return {"text": completion.text, "cost": completion.usage.cost if completion.usage else 0.0, "error": ""}


def main(source: str, target: str, rpm: float = RPM) -> None:
    """Reads, answers, writes."""
    rows = ray.data.read_json(source, lines=True)
    # They wait more than they work, so they take no whole processor each.
    workers = ActorPoolStrategy(size=WORKERS)
    answered = rows.map_batches(
        Answers, fn_constructor_args=(rpm / WORKERS,), compute=workers, batch_size=50, num_cpus=0.25
    )
    answered.write_parquet(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
