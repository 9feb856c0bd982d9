"""Holds what our program saved to what PEFT and transformers make of it: the opposite direction of the fixtures.

    python check_ours.py adapter MODEL ADAPTER ANSWERS    # an adapter, on the model that it was trained on
    python check_ours.py merged MODEL ANSWERS             # a model that an adapter has been merged into

MODEL and ADAPTER are folders. ANSWERS is a file of JSON, {"ids": [T numbers], "logits": [T rows of V numbers]}: the ids of one sequence and
the logits that our program computed for each of its positions, in float32.
"""

import argparse
import json
import sys

import torch
from peft import PeftModel
from peft.utils import load_peft_weights
from transformers.utils import logging

import reference
import weights

TOLERANCE = 1e-4


def answers(path):
    """Ids [1, time] and logits [time, vocabulary]."""
    with open(path) as file:
        said = json.load(file)
    ids, logits = torch.tensor([said["ids"]]), torch.tensor(said["logits"])
    if logits.ndim != 2 or len(logits) != ids.shape[1]:
        sys.exit(f"{path}: {ids.shape[1]} ids need as many rows of logits, got {list(logits.shape)}")
    return ids, logits


def adapted(model, folder):
    """The model with the adapter, every part of which was found."""
    loaded = PeftModel.from_pretrained(model, folder).eval()
    kept = {name.replace(".default", "").removesuffix(".weight") for name, _ in loaded.named_parameters() if "lora_" in name}
    saved = {name.removesuffix(".weight") for name in load_peft_weights(folder, device="cpu")}
    if kept != saved:
        sys.exit(f"{folder}: missing {sorted(kept - saved)}, unexpected {sorted(saved - kept)}")
    return loaded


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, folders in (("adapter", ("model", "adapter")), ("merged", ("model",))):
        each = kinds.add_parser(kind)
        for name in (*folders, "answers"):
            each.add_argument(name)
    given = parser.parse_args()

    logging.disable_progress_bar()
    model = weights.load(given.model)
    if given.kind == "adapter":
        model = adapted(model, given.adapter)
    ids, ours = answers(given.answers)
    with torch.no_grad():
        theirs = reference.logits_of(model, ids)
    if theirs.shape != ours.shape:
        sys.exit(f"{given.answers}: logits are {list(ours.shape)}, the model's are {list(theirs.shape)}")
    off = (theirs - ours).abs().max().item()
    # Written so that a NaN is a difference.
    if not off <= TOLERANCE:
        sys.exit(f"logits differ by up to {off:.3g}, more than {TOLERANCE:g}")
    print(f"logits differ by at most {off:.3g}")
