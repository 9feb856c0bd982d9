"""Repetitions, how busy others kept the machine meanwhile, peak memory, and the one line of JSON that every program ends with."""

import argparse
import json
import os
import resource
import statistics
import sys
import time


def machine_busy():
    """Core seconds of work that the whole machine has done since it was started."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, open("/proc/stat").readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """Laps of the wall clock, and the share of cores that other processes kept busy over them."""

    def __init__(self):
        self.laps, self.wall, self.foreign = [], 0.0, 0.0

    def start(self):
        self.busy, self.own, self.since = machine_busy(), time.process_time(), time.perf_counter()

    def stop(self):
        lap = time.perf_counter() - self.since
        self.laps.append(lap)
        print(f"  {lap:.4f} s", file=sys.stderr, flush=True)
        self.wall += lap
        self.foreign += machine_busy() - self.busy - (time.process_time() - self.own)

    def others(self):
        return max(0.0, self.foreign / self.wall) if self.wall else 0.0


def measure(work, repeat, warm=1):
    """A stopwatch with `repeat` laps of `work()`, after `warm` calls that do not count."""
    for _ in range(warm):
        work()
    watch = Stopwatch()
    for _ in range(repeat):
        watch.start()
        work()
        watch.stop()
    return watch


def report(args, bench, peer, watch, tokens, **more):
    """Print the row, as the last line of the program. `tokens` is what one lap produced."""
    print(json.dumps(dict(
        bench=bench, peer=peer, shape=args.shape, sequences=args.sequences, prompt=args.prompt, completion=args.completion,
        group=args.group, ragged=args.ragged, turns=getattr(args, "turns", 1), beta=getattr(args, "beta", 0.0), threads=args.threads,
        seconds_min=min(watch.laps), seconds_median=statistics.median(watch.laps), seconds=watch.laps,
        tokens_per_second=tokens / min(watch.laps),
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, others=round(watch.others(), 3), **more)), flush=True)


def wait_until_quiet(limit, below=0.15, window=0.7):
    """Return once others keep fewer than `below` cores busy over `window` seconds, or after `limit` seconds; the load last seen."""
    since = time.perf_counter()
    while True:
        busy, begun = machine_busy(), time.perf_counter()
        time.sleep(window)
        load = (machine_busy() - busy) / (time.perf_counter() - begun)
        if load < below or time.perf_counter() - since > limit:
            return load


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Wait until the machine is quiet.")
    parser.add_argument("limit", type=float, help="seconds to wait at the most")
    wait_until_quiet(parser.parse_args().limit)
