"""Write each built-in plugin's version and code digest to `plugin_versions.json`."""

from __future__ import annotations

import json
from pathlib import Path

from bezoar_core.plugins import code_digest, load

if __name__ == "__main__":
    ours = [owned for owned in load(disabled="").owned if owned.distribution == "bezoar"]
    found = {f"{o.kind} {o.name}": {"version": o.version, "code": code_digest(o.cls)} for o in ours}
    text = json.dumps(found, indent=2, sort_keys=True)
    Path(__file__).with_name("plugin_versions.json").write_text(text + "\n", encoding="utf-8")
