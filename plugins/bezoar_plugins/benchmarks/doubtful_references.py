"""GPT-4's reference answers to MT-Bench that are said to be wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

SOURCE = "FastChat pull request 3158"

DOUBTFUL = frozenset(
    {
        "59ecf5b076de08f19d47a1509a00a377a156d2c113ae4749515c87086983b132",  # 104
        "3b93a782710fd3414afafe67952a209e61521eca26033c91afd762f4d8a4b72c",  # 105
        "2967116c34f2a019adfb546ad5eafe9fc30c7752e67d6f612cea20d9f448dd7d",  # 109
        "d4e82dabf93d7c42aa662d28ffa629fa3a628fad49cb258b882445ef7fc80ac5",  # 111
        "de0579713c8eb68df412446ee1640de85ae8c505383222b3d6413b9d7cecfde8",  # 113
        "c6fc24d1277becae4fb505c1b6295b432a3556f6137765a5bc0e955f2bc60c87",  # 114
        "d8bbec83a1bfbc1d0e5ef0e77f4f6bc88f5ed053c942a17cf252553ee457bf2e",  # 120
        "a1e0a19b34d89a06efaef5a73f16f2c0db1eb9b767209cc3392045fe6a94fbb8",  # 122
        "80a5eb1f2f4f3014effb3b2acb64d8cb66554fe928623dd9cf41008309dd78cc",  # 124
        "9eed5fe4a5013c0b557a6b3585c3159473b8164e4638128dc163b39ce222bec9",  # 125
        "d6102487d93c88e03716e89d4d0e0efd3a32dbc51ddd448b83febd87a92518ee",  # 126
        "fdc0eda878b902d3621e9c78d4f88aa5241e754925c97ca435408f65d3dbeb66",  # 128
        "adb91d70708d80bf4894b1bd79d26103e05f207433ee709c60278925e2905429",  # 130
    }
)
"""sha256 of the turns as JSON; beside each the question it belongs to."""


def doubtful(turns: Sequence[str]) -> bool:
    """Return whether a reference answer is one of the doubtful ones, word for word."""
    return hashlib.sha256(json.dumps(list(turns)).encode()).hexdigest() in DOUBTFUL
