"""What a run of `run.sh` comes to: a table, and the file with every measurement.

Times are the least and the median of all rounds. Where a case has several peers, the fastest counts. A ratio is theirs to ours, of the least
times: above 1, ours is faster.
"""

import argparse
import collections
import datetime
import json
import math
import os
import platform
import re
import statistics
import sys
import sysconfig

# How much faster MKL's other kernels have to be before they are taken for it.
MARGIN = 1.02
PACKAGES = ("torch", "transformers", "trl")
INSTALLED, TUNED, OTHER_KERNELS = "as installed", "tuned", "other kernels"


def times(row):
    """The figures of a row that are compared: `{what: (least, median)}` in seconds. A log-probability is found without a gradient too."""
    found = {"": (row["seconds_min"], row["seconds_median"])}
    if row["bench"] == "logprob":
        forward = row["phases"]["forward"] if "phases" in row else {key: row[f"forward_{key}"] for key in ("seconds_min", "seconds_median")}
        found = {" forward": (forward["seconds_min"], forward["seconds_median"]), " forward and backward": found[""]}
    return found


def gathered(rows):
    """`{(case, what): {(side, setting): {peer: [(least, median) of each round]}}}`, in the order of the run."""
    found = collections.defaultdict(lambda: collections.defaultdict(lambda: collections.defaultdict(list)))
    for entry in rows:
        for what, pair in times(entry["row"]).items():
            found[entry["case"], what][entry["side"], entry["setting"]][entry["row"].get("peer", "ours")].append(pair)
    return found


def fastest(peers):
    """Name, least and median seconds of the fastest of `{name: rounds}`; nothing if there are none."""
    names = {name: (min(least for least, _ in rounds), statistics.median(median for _, median in rounds)) for name, rounds in peers.items()}
    best = min(names, key=lambda name: names[name][0], default=None)
    return best and (best, *names[best])


def seconds(value):
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def cells(ours, theirs):
    """Least and median of theirs, and the ratio to ours."""
    if not theirs:
        return ["–", "–"]
    name, least, median = theirs
    ratio = f"**x {least / ours[1]:.2f}**" if ours else "–"
    return [f"{seconds(least)} / {seconds(median)} ({name})", ratio]


def table(rows):
    """The Markdown table, a line each."""
    lines = ["| Case | Ours | Peer as installed | | Peer tuned | |", "|---|---|---|---|---|---|"]
    for (case, what), sides in gathered(row for row in rows if row["case"] != "roof").items():
        ours = fastest(sides[("ours", INSTALLED)])
        own = f"{seconds(ours[1])} / {seconds(ours[2])}" if ours else "–"
        columns = [case + what, own, *cells(ours, fastest(sides[("peer", INSTALLED)])), *cells(ours, fastest(sides[("peer", TUNED)]))]
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def square(rows, setting):
    """GFLOP/s of PyTorch's large product in a setting, or 0 if it was not measured."""
    return max((row["row"]["gflops"]["square"] for row in rows if row["case"] == "roof" and row["setting"] == setting), default=0.0)


def products(rows, setting):
    """Least seconds of products of all shapes, those of a step and of a rollout among them, in a setting."""
    return min((row["row"]["seconds_min"] for row in rows if row["case"] == "roof" and row["setting"] == setting), default=math.inf)


def file_line(path, key):
    """What follows `key` and a colon in a file of the kernel's."""
    with open(path) as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith(key)), "")


def machine(rows, tuned, ours):
    """Where, and with what."""
    site = sysconfig.get_paths()["purelib"]
    versions = (re.fullmatch(r"(torch|transformers|trl)-(.+)\.dist-info", name) for name in sorted(os.listdir(site)))
    flags = file_line("/proc/cpuinfo", "flags").split()
    return dict(
        cpu=file_line("/proc/cpuinfo", "model name"), family=file_line("/proc/cpuinfo", "cpu family"), model=file_line("/proc/cpuinfo", "model\t"),
        cores=os.cpu_count(), vectors="AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "neither AVX2 nor AVX-512",
        memory_gb=round(int(file_line("/proc/meminfo", "MemTotal").split()[0]) / 1e6, 1), kernel=platform.release(), python=platform.python_version(),
        ours=ours, **{match[1]: match[2] for match in versions if match}, tuned=tuned, date=datetime.date.today().isoformat(),
        gemm_gflops=round(square(rows, f"{INSTALLED}, all threads"), 1), gemm_gflops_tuned=round(square(rows, f"{TUNED}, all threads"), 1),
        gemm_gflops_ours=round(max((row["row"].get("roof", 0) for row in rows if row["side"] == "ours" and "gflops" in row["row"]), default=0), 1))


def described(it):
    """The machine in a sentence or two."""
    peers = ", ".join(f"{name} {it[name]}" for name in PACKAGES if name in it)
    return (
        f"{it['cpu']} (family {it['family']}, model {it['model']}, {it['vectors']}), {it['cores']} cores, {it['memory_gb']} GB, Linux {it['kernel']}; "
        f"{it['ours']} beside {peers}, Python {it['python']}; {it['date']}. A large product: ours {it['gemm_gflops_ours']:.0f} GFLOP/s, "
        f"PyTorch's {it['gemm_gflops']:.0f}, tuned {it['gemm_gflops_tuned']:.0f}. Tuned: {it['tuned']}. Least / median of all rounds.")


def keep(folder, it, rows):
    """Write everything to a file named after the processor; its path."""
    words = f"{it['cpu']} {it['family']} {it['model']} {it['cores']} cores"
    path = os.path.normpath(os.path.join(folder, f"peers-{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')}.json"))
    with open(path, "w") as file:
        json.dump(dict(machine=it, rows=rows), file, indent=1)
        file.write("\n")
    return path


def check():
    """The sample's table is the one that stands beside it."""
    here = os.path.dirname(os.path.abspath(__file__))
    rows = load(os.path.join(here, "sample.jsonl"))
    with open(os.path.join(here, "sample.md")) as file:
        expected = file.read().splitlines()
    if table(rows) != expected:
        sys.exit("the sample's table has become\n" + "\n".join(table(rows)))


def load(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", help="a line of JSON for each measurement")
    parser.add_argument("--tuned", default="", help="what was set for the tuned runs")
    parser.add_argument("--ours", default="", help="the version of ours")
    parser.add_argument("--keep", help="the folder for the file with every measurement")
    parser.add_argument("--other-kernels-are-faster", action="store_true", help="say by the exit status whether they were, in the roof's rows")
    parser.add_argument("--check", action="store_true", help="compare the table of sample.jsonl with sample.md")
    args = parser.parse_args()
    if args.check:
        return check()
    rows = load(args.rows)
    if args.other_kernels_are_faster:
        sys.exit(0 if MARGIN * products(rows, OTHER_KERNELS) < products(rows, INSTALLED) else 1)
    it = machine(rows, args.tuned, args.ours)
    print(described(it), "", *table(rows), sep="\n")
    if args.keep:
        print(f"\nEvery measurement: {keep(args.keep, it, rows)}")


main()
