# SPDX-License-Identifier: GPL-2.0-only
"""What a BPF object asks of the kernel, read from the file alone: instructions, helpers, calls of
functions that are not in it, types of maps. Little-endian 64-bit ELF, as clang writes it."""

import struct
import types

SHT_REL = 9
SHF_EXECINSTR = 4
SHN_UNDEF = 0

# linux/bpf.h
CLASS_LD, CLASS_LDX, CLASS_STX, CLASS_ALU, CLASS_JMP, CLASS_JMP32, CLASS_ALU64 = 0, 1, 3, 4, 5, 6, 7
CALL = 0x85
PSEUDO_CALL = 1
TWO_SLOTS = 0x18


class Object:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        if self.bytes[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: not a little-endian 64-bit ELF file")
        (table,) = struct.unpack_from("<Q", self.bytes, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.bytes, 0x3a)
        fields = ("name", "type", "flags", "addr", "offset", "size", "link", "info", "align", "each")
        self.sections = [types.SimpleNamespace(**dict(zip(fields, struct.unpack_from(
            "<IIQQQQIIQQ", self.bytes, table + i * size)))) for i in range(count)]
        strings = self.sections[names].offset
        for section in self.sections:
            section.name = self._string(strings + section.name)

    def _string(self, at):
        return self.bytes[at:self.bytes.index(b"\0", at)].decode()

    def instructions(self):
        """(section, offset, opcode, registers, off, imm) of each."""
        for section in self.sections:
            if not section.flags & SHF_EXECINSTR:
                continue
            at = 0
            while at < section.size:
                fields = struct.unpack_from("<BBhi", self.bytes, section.offset + at)
                yield (section.name, at, *fields)
                at += 16 if fields[0] == TWO_SLOTS else 8

    def undefined_calls(self):
        """{(section, offset): name} of relocations in code to symbols that are defined elsewhere."""
        found = {}
        for relocations in self.sections:
            target = self.sections[relocations.info] if relocations.type == SHT_REL else None
            if not target or not target.flags & SHF_EXECINSTR:
                continue
            symbols = self.sections[relocations.link]
            strings = self.sections[symbols.link].offset
            for i in range(relocations.size // 16):
                at, info = struct.unpack_from("<QQ", self.bytes, relocations.offset + 16 * i)
                symbol = symbols.offset + 24 * (info >> 32)
                name, _, _, section = struct.unpack_from("<IBBH", self.bytes, symbol)
                if section == SHN_UNDEF:
                    found[target.name, at] = self._string(strings + name)
        return found
