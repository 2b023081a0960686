#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""That the kernel programs need nothing newer than Linux 5.15, by their object file alone, that
`sluice doctor` asks the kernel for the helpers that they call, and that the two lists of kernels agree.

    floor_test.py OBJECT

Each rule is first shown to see a program that breaks it."""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bpf_elf as elf  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAST_HELPER = 175       # bpf_task_pt_regs; __BPF_FUNC_MAPPER of linux/bpf.h as of 5.15
LAST_MAP_TYPE = 29      # BPF_MAP_TYPE_TASK_STORAGE
MODE_SIGNED = 0x80      # sign-extending loads, 6.6
JUMP_32 = 0x06          # with a 32-bit offset, 6.6
SWAP = 0xd7             # unconditional byte swap, 6.6
ATOMICS = {0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xa0, 0xa1, 0xe1, 0xf1}  # 5.12 and before

HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
"""
# What each rule must see: C, or, for what clang cannot be told to make, bytes of one instruction.
BREAKS = {
    "helpers": HEAD + 'SEC("tc") int f(void *c) { return ((long (*)(void *))176)(c); }',
    "unasked_helpers": HEAD + 'SEC("tc") int f(void *c) { return bpf_get_smp_processor_id(); }',
    "kfuncs": HEAD + 'extern int elsewhere(void) __ksym;\nSEC("tc") int f(void *c) '
                     '{ return elsewhere(); }',
    "maps": HEAD + 'struct { __uint(type, 30); __uint(max_entries, 1); __type(value, int); } m '
                   'SEC(".maps");\nSEC("tc") int f(void *c) { return !&m; }',
    "instructions": HEAD + 'SEC("tc") int f(void *c) { asm volatile(".8byte 0x10d7"); return 0; }',
}


def helper_calls(path):
    """(number of the helper, where) of each call."""
    return [(imm, f"{section}+{at}") for section, at, opcode, regs, _, imm
            in elf.Object(path).instructions()
            if opcode == elf.CALL and regs >> 4 != elf.PSEUDO_CALL]


def late_helpers(path):
    return [f"helper {number} at {where}" for number, where in helper_calls(path)
            if number > LAST_HELPER]


def called_helpers(path):
    """Their names, by the order of __BPF_FUNC_MAPPER."""
    with open("/usr/include/linux/bpf.h", encoding="utf-8") as file:
        mapper = file.read().partition("#define __BPF_FUNC_MAPPER")[2]
    names = re.findall(r"^\s*FN\((\w+)", mapper, re.M)[:LAST_HELPER + 1]
    return {names[number] for number, _ in helper_calls(path) if number <= LAST_HELPER}


def asked_helpers():
    """Those that `sluice doctor` asks the kernel for."""
    with open(f"{ROOT}/tools/sluice/doctor_kernel.c", encoding="utf-8") as file:
        return set(re.findall(r"HELPER\((\w+)\),", file.read()))


def unasked_helpers(path):
    return sorted(called_helpers(path) - asked_helpers())


def kernel_functions(path):
    return [f"{name}() at {section}+{at}" for (section, at), name
            in elf.Object(path).undefined_calls().items()]


def _is_late(opcode, off, imm):
    kind = opcode & 7
    if opcode in (SWAP, JUMP_32):
        return True
    if kind == elf.CLASS_LDX:
        return opcode & 0xe0 == MODE_SIGNED
    if kind == elf.CLASS_STX and opcode & 0xe0 == 0xc0:
        return imm not in ATOMICS
    # Signed division and modulo, moves that extend the sign: an offset, where there was none.
    return kind in (elf.CLASS_ALU, elf.CLASS_ALU64) and off != 0


def late_instructions(path):
    return [f"opcode {opcode:#04x} at {section}+{at}" for section, at, opcode, _, off, imm
            in elf.Object(path).instructions() if _is_late(opcode, off, imm)]


def late_maps(path):
    """By bpftool, which reads the maps' definitions from BTF: members named `type` are pointers to
    arrays as long as the type's number."""
    dump = subprocess.run(["bpftool", "-j", "btf", "dump", "file", path], check=True,
                          capture_output=True, text=True,
                          env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}).stdout
    by_id = {one["id"]: one for one in json.loads(dump)["types"]}
    found = []
    for section in by_id.values():
        if section["kind"] != "DATASEC" or section["name"] != ".maps":
            continue
        for variable in (by_id[entry["type_id"]] for entry in section["vars"]):
            for member in by_id[variable["type_id"]]["members"]:
                if member["name"] == "type":
                    number = by_id[by_id[member["type_id"]]["type_id"]]["nr_elems"]
                    found.append((variable["name"], number))
    if not found:
        raise ValueError(f"{path}: no maps")
    return [f"{name} is of type {number}" for name, number in found if number > LAST_MAP_TYPE]


RULES = {"helpers": late_helpers, "unasked_helpers": unasked_helpers, "kfuncs": kernel_functions, "maps": late_maps,
         "instructions": late_instructions}


def compiled(source, directory):
    path = f"{directory}/one.bpf.o"
    machine = subprocess.run(["gcc", "-print-multiarch"], check=True, capture_output=True,
                             text=True).stdout.strip()
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-w",
                    f"-I/usr/include/{machine}", "-x", "c", "-c", "-", "-o", path],
                   input=source, text=True, check=True)
    return path


def matrix_and_toml():
    """Kernels of amd64 that are in one list and not, or not alike, in the other."""
    with open(f"{ROOT}/vmtest/matrix", encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    with open(f"{ROOT}/vmtest/vmtest.toml", "rb") as file:
        targets = tomllib.load(file)["target"]
    matrix = {(row[0], row[-1]) for row in rows if row[2].endswith("amd64")}
    toml = {(target["name"], target["command"].split()[-1]) for target in targets}
    return sorted(matrix ^ toml)


def main():
    good = True

    def verdict(name, findings):
        nonlocal good
        print(f"FAIL {name}: {', '.join(map(str, findings))}" if findings else f"ok {name}",
              flush=True)
        good &= not findings

    for name, rule in RULES.items():
        with tempfile.TemporaryDirectory() as directory:
            seen = rule(compiled(BREAKS[name], directory))
        late = name if name.startswith("un") else f"late_{name}"
        verdict(f"floor_sees_{late}", [] if seen else ["it does not"])
        verdict(f"floor_no_{late}", rule(sys.argv[1]))
    verdict("doctor_asks_for_no_other_helpers",
            sorted(asked_helpers() - called_helpers(sys.argv[1])))
    verdict("matrix_and_vmtest_toml_agree", matrix_and_toml())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
