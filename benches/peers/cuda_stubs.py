"""Let the package index's build of torch, which is linked against CUDA, be imported on a machine that has none.

The index carries only that build, and its CUDA libraries weigh some gigabytes. torch needs them to exist, not to work: each missing one is
replaced by a small library that defines the symbols torch asks of it, under the versions it asks for, as functions that return
`cudaErrorNoDevice`. A build of torch without CUDA asks for none, and nothing is done. Needs readelf and gcc.
"""

import collections
import os
import re
import subprocess
import sysconfig
import tempfile

FOLDER = os.path.join(sysconfig.get_paths()["purelib"], "torch", "lib")
MARK = b"stands in for a CUDA library"
CUDA_LIBRARY = re.compile(r"lib(cu|nv|nccl)")
CUDA_SYMBOL = re.compile(r"(cu|CU|nv|_nv|nccl|__cuda)")
NO_DEVICE = 100
# What torch reads even where there is no device.
BODIES = {
    "cudaGetErrorString": 'const char *cudaGetErrorString(int e) { return "no CUDA device"; }',
    "cudaGetErrorName": 'const char *cudaGetErrorName(int e) { return "cudaErrorNoDevice"; }',
    "cudaStreamIsCapturing": "int cudaStreamIsCapturing(void *stream, int *capturing) { *capturing = 0; return 0; }",
    "cudaGetDeviceCount": f"int cudaGetDeviceCount(int *count) {{ *count = 0; return {NO_DEVICE}; }}",
}


def readelf(option, path):
    return subprocess.run(["readelf", option, "-W", path], check=True, capture_output=True, text=True).stdout


def stub(path):
    """Whether the library at `path` is one of ours, or is not there."""
    if not os.path.exists(path):
        return True
    with open(path, "rb") as file:
        return MARK in file.read(1 << 18)


def asked_of_versions(path):
    """Which library each symbol version is expected from, `{version: library}`."""
    found, library = {}, None
    for line in readelf("-V", path).splitlines():
        if file := re.search(r"File: (\S+)", line):
            library = file[1]
        elif (name := re.search(r"Name: (\S+)", line)) and library:
            found[name[1]] = library
    return found


def symbols(path):
    """What the library at `path` lacks, as `name` or `name@version`, and what it defines."""
    lacking, defined = set(), set()
    for columns in map(str.split, readelf("--dyn-syms", path).splitlines()):
        if len(columns) >= 8 and columns[0].rstrip(":").isdigit():
            name = columns[7].replace("@@", "@")
            if columns[6] != "UND":
                defined.add(name.partition("@")[0])
            elif columns[4] == "GLOBAL":
                lacking.add(name)
    return lacking, defined


def write(library, by_version, unversioned):
    """Compile the stand-in for `library`."""
    names = sorted({*unversioned, *(name for names in by_version.values() for name in names)})
    source = [f'const char mark_of_a_stub[] __attribute__((used)) = "{MARK.decode()}";']
    source += [BODIES.get(name, f"long {name}(void) {{ return {NO_DEVICE}; }}") for name in names]
    script = [f"{version} {{ global: {' '.join(name + ';' for name in sorted(named))} }};" for version, named in by_version.items()]
    with tempfile.TemporaryDirectory() as folder:
        c, versions = os.path.join(folder, "stub.c"), os.path.join(folder, "stub.map")
        for path, lines in ((c, source), (versions, script)):
            with open(path, "w") as file:
                file.write("\n".join(lines) + "\n")
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin", f"-Wl,-soname,{library}", "-o", os.path.join(FOLDER, library), c]
        subprocess.run(command + ([f"-Wl,--version-script={versions}"] if script else []), check=True)
    print(f"{library}: {len(names)} symbols")


def main():
    needed, lacking, defined, expected_from = set(), set(), set(), {}
    for name in sorted(os.listdir(FOLDER)):
        path = os.path.join(FOLDER, name)
        if not re.search(r"\.so(\.\d+)*$", name) or stub(path):
            continue
        needed |= set(re.findall(r"Shared library: \[(.+?)\]", readelf("-d", path)))
        expected_from |= asked_of_versions(path)
        lacks, defines = symbols(path)
        lacking |= lacks
        defined |= defines
    stubs = sorted(name for name in needed if CUDA_LIBRARY.match(name) and stub(os.path.join(FOLDER, name)))
    by_library, loose = collections.defaultdict(lambda: collections.defaultdict(set)), set()
    for name, _, version in (symbol.partition("@") for symbol in lacking):
        if version and expected_from.get(version) in stubs:
            by_library[expected_from[version]][version].add(name)
        elif not version and name not in defined and CUDA_SYMBOL.match(name):
            loose.add(name)
    for library in stubs:
        write(library, by_library[library], loose if library.startswith("libcudart.so") else ())


main()
