"""Empty stand-ins for the CUDA libraries that torch links, so that it can be imported where they are not installed.

Each library that torch's own files need, and that is not beside them, becomes a small shared object. It defines the functions that torch
wants from it, under the version names that it wants, and all of them return 100, "no CUDA device". Where torch comes without CUDA,
nothing is made. Needs readelf and gcc.
"""

import collections
import os
import re
import subprocess
import sysconfig
import tempfile

MARK = b"stand-in-for-a-cuda-library"
NO_DEVICE = "long {name}(void) {{ return 100; }}"
# What torch reads even where there is no device.
SPECIAL = {
    "cudaGetErrorString": 'const char *cudaGetErrorString(void) { return "no CUDA device"; }',
    "cudaGetErrorName": 'const char *cudaGetErrorName(void) { return "cudaErrorNoDevice"; }',
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int *count) { *count = 0; return 100; }",
    "cudaStreamIsCapturing": "int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }",
}
FOLDER = os.path.join(sysconfig.get_paths()["purelib"], "torch", "lib")


def read(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def is_stand_in(path):
    return os.path.getsize(path) < 200_000 and MARK in open(path, "rb").read()


def survey():
    """The CUDA libraries that are needed, the symbols wanted of each by version name, and those wanted of any."""
    needed, defined, wanted, home = set(), set(), set(), {}
    for name in sorted(os.listdir(FOLDER)):
        path = os.path.join(FOLDER, name)
        if not re.search(r"\.so(\.\d+)*$", name) or is_stand_in(path):
            continue
        needed |= set(re.findall(r"Shared library: \[(lib(?:cu|nv|nccl).+?)\]", read("readelf", "-dW", path)))
        library = None
        for line in read("readelf", "-VW", path).splitlines():
            if found := re.search(r"Version: 1\s+File: (\S+)", line):
                library = found[1]
            elif (found := re.search(r"^\s+0x[0-9a-f]+:\s+Name: (\S+)", line)) and library:
                home[found[1]] = library
        for line in read("readelf", "--dyn-syms", "-W", path).splitlines():
            cells = line.split()
            if len(cells) < 8 or not cells[0].endswith(":"):
                continue
            if cells[6] != "UND":
                defined.add(cells[7].split("@")[0])
            elif cells[4] == "GLOBAL":
                wanted.add(cells[7])
    versioned, loose = collections.defaultdict(lambda: collections.defaultdict(set)), set()
    for symbol in wanted:
        name, _, version = symbol.replace("@@", "@").partition("@")
        if version in home:
            versioned[home[version]][version].add(name)
        elif not version and name not in defined and re.match(r"^(cu|nv|nccl|CU|__cuda|_?nvshmem)", name):
            loose.add(name)
    missing = {name for name in needed if not os.path.exists(path := os.path.join(FOLDER, name)) or is_stand_in(path)}
    return missing, versioned, loose


def build(library, versions, loose):
    with tempfile.TemporaryDirectory() as scratch:
        source, script = os.path.join(scratch, "it.c"), os.path.join(scratch, "it.map")
        names = sorted(set().union(*versions.values())) + sorted(loose if library.startswith("libcudart.so") else ())
        with open(source, "w") as file:
            file.write(f'const char mark[] __attribute__((used)) = "{MARK.decode()}";\n')
            file.writelines(SPECIAL.get(name, NO_DEVICE.format(name=name)) + "\n" for name in names)
        command = ["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", "-o", os.path.join(FOLDER, library), source]
        if versions:
            with open(script, "w") as file:
                for version, symbols in versions.items():
                    file.write(version + " { global: " + " ".join(f"{symbol};" for symbol in sorted(symbols)) + " };\n")
            command.append(f"-Wl,--version-script={script}")
        subprocess.run([*command, f"-Wl,-soname,{library}"], check=True)


if __name__ == "__main__":
    missing, versioned, loose = survey()
    for library in sorted(missing):
        build(library, versioned.get(library, {}), loose)
    print(f"{len(missing)} stand-ins for CUDA libraries")
