"""How cases of text are written: a file of JSON with a case to a line."""

import json
from importlib.metadata import version


def write(path, name, cases, **more):
    head = json.dumps({"transformers": version("transformers"), **more})[:-1]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":"), allow_nan=False) for case in cases)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'{head}, "{name}": [\n{lines}\n]}}\n')
