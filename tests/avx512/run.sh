#!/usr/bin/env bash
# Runs test programs on a processor with AVX-512 where there is none: on Debian's kernel, in Bochs, which emulates one in software.
#
#   tests/avx512/run.sh target/debug/deps/stateset_kernels-0123456789abcdef     one program or several, tests one after another
#
# Needs Debian and root, for the packages of Bochs; takes hundreds of times as long as the processor would. Fails if a program does, or if
# the processor that it got has no AVX-512.
set -euo pipefail

limit=3000 # seconds
packages=(bochs bochs-term bochsbios vgabios grub-pc-bin grub-common xorriso mtools cpio busybox-static)
scratch="$(mktemp -d)"
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null || true; rm -rf "$scratch"' EXIT

[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# Says what a command says only if it fails.
quietly() { "$@" >"$scratch/output" 2>&1 || { cat "$scratch/output" >&2; return 1; }; }

# The kernel is unpacked, not installed: it is not to boot this machine.
get() {
    local kernel
    export DEBIAN_FRONTEND=noninteractive
    apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1 || apt-get update -qq
    dpkg --status "${packages[@]}" >/dev/null 2>&1 || quietly apt-get install -qq --no-install-recommends "${packages[@]}"
    kernel="$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')"
    (cd "$scratch" && quietly apt-get download -qq "$kernel" && dpkg --extract linux-image-*.deb kernel)
}

# A root folder of the programs, what they are linked to, and an init that runs them and says how each ended.
fill() {
    local root="$scratch/root" program library
    mkdir -p "$root"/{bin,proc,dev,tmp,tests}
    cp "$(command -v busybox)" "$root/bin/"
    for program in "$@"; do
        strip -o "$root/tests/$(basename "$program")" "$program"
        while read -r library; do
            install -D "$library" "$root$library"
        done < <(ldd "$program" | grep -o '/[^ ]*')
    done
    cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1
for flag in avx512f avx512bw avx512dq avx512vl; do
    /bin/busybox grep -qw "$flag" /proc/cpuinfo || echo "== no $flag"
done
for program in /tests/*; do
    "$program" --test-threads 1
    echo "== ${program#/tests/}: exit status $?"
done
echo "== done"
exec /bin/busybox sleep 1d
INIT
    chmod +x "$root/init"
}

# The kernel does not believe what the emulator says of compacted state, and would do without AVX; hence `clearcpuid`.
pack() {
    local disc="$scratch/disc"
    mkdir -p "$disc/boot/grub"
    (cd "$scratch/root" && find . | cpio --quiet --create --format newc | gzip -1) >"$disc/boot/initrd"
    cp "$scratch"/kernel/boot/vmlinuz-* "$disc/boot/vmlinuz"
    cat >"$disc/boot/grub/grub.cfg" <<'GRUB'
set timeout=0
menuentry tests {
    linux /boot/vmlinuz console=ttyS0 quiet loglevel=0 clearcpuid=xsaves,xsavec mitigations=off nosmp noapic lpj=1000000 panic=-1
    initrd /boot/initrd
}
GRUB
    quietly grub-mkrescue -o "$scratch/disc.iso" "$disc"
}

emulate() {
    cat >"$scratch/bochsrc" <<BOCHS
megs: 1024
cpu: model=corei7_skylake_x, ips=100000000
clock: sync=none
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$scratch/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$scratch/said
display_library: rfb, options="timeout=0"
log: $scratch/log
panic: action=report
BOCHS
    echo c >"$scratch/go" # on, says Debian's Bochs to its debugger
    : >"$scratch/said"
    bochs -q -f "$scratch/bochsrc" -rc "$scratch/go" </dev/null >"$scratch/emulator" 2>&1 &
    emulator=$!
    timeout "$limit" tail --pid="$emulator" -n +1 -f "$scratch/said" | sed -u 's/\r$//; /^== done/q' || true
}

get
fill "$@"
pack
emulate
ended="$(grep -c '^== .*: exit status 0' "$scratch/said" || true)"
! grep -q '^== no ' "$scratch/said" || { echo "the emulated processor has no AVX-512" >&2; exit 1; }
grep -q '^== done' "$scratch/said" || { echo "the emulator did not come to the end of it:" >&2; tail -n 20 "$scratch/emulator" >&2; }
[ "$ended" -eq $# ] || { echo "$ended of $# programs passed" >&2; exit 1; }
