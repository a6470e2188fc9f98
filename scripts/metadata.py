"""What a build in a workflow of GitHub adds to the package's metadata: the addresses, which only the workflow knows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s]+)")
"""The target of a link to a file of the repository, which PyPI doesn't have."""


class Addresses(MetadataHookInterface):
    """README with absolute links, and `[project.urls]`; outside of a workflow README as it stands, and no addresses."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Sets `readme` and `urls`."""
        text = Path(self.root, "README.md").read_text("utf-8")
        repository = os.environ.get("GITHUB_REPOSITORY")
        if repository:
            home = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
            version = os.environ.get("GITHUB_REF_NAME", "main")
            text = LINK.sub(rf"{home}/blob/{version}/\1", text)
            owner, _, name = repository.partition("/")
            metadata["urls"] = {
                "Source": home,
                "Documentation": f"https://{owner}.github.io/{name}/",
                "Changelog": f"{home}/blob/{version}/CHANGELOG.md",
                "Issues": f"{home}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
