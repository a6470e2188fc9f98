"""`python -m cf_gemma`: the `cf-gemma` command."""

from __future__ import annotations

from cf_gemma.cli import main

main()
