"""Load the rows of an example task from the folder of its YAML file, wherever the repository lies.

lm-eval resolves `dataset_kwargs.data_files` against the current directory, and `!function` against the YAML's folder:
so the YAML names this loader as its `custom_dataset`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def load(data_file: str, **_metadata: object) -> dict[str, "Dataset"]:
    """Return the rows of `data_file` as the split `test`, without regard to the metadata that lm-eval passes too."""
    from datasets import Dataset

    with (Path(__file__).resolve().parent / data_file).open(encoding="utf-8") as lines:
        return {"test": Dataset.from_list([json.loads(line) for line in lines])}
