"""A program that needs neither compiler nor library: it prints ``GREETING`` and exits with 0."""

from __future__ import annotations

import struct

GREETING = b"plugin\n"

_BASE = 0x400000
_ALIGNMENT = 0x10000
"""The largest page size of these machines."""
_HEADERS = 64 + 56
_EXECUTABLE, _LOAD, _READ_EXECUTE = 2, 1, 5

# Each is write(1, GREETING, 7), exit(0); the greeting follows the code.
_X86_64 = bytes.fromhex(
    "b801000000"  # mov eax, 1 (write)
    "89c7"  # mov edi, eax
    "488d3510000000"  # lea rsi, [rip + 16]
    "ba07000000"  # mov edx, 7
    "0f05"  # syscall
    "b83c000000"  # mov eax, 60 (exit)
    "31ff"  # xor edi, edi
    "0f05"  # syscall
)
_AARCH64 = struct.pack(
    "<8I",
    0xD2800020,  # mov x0, #1
    0x100000E1,  # adr x1, . + 28
    0xD28000E2,  # mov x2, #7
    0xD2800808,  # mov x8, #64 (write)
    0xD4000001,  # svc #0
    0xD2800000,  # mov x0, #0
    0xD2800BA8,  # mov x8, #93 (exit)
    0xD4000001,  # svc #0
)
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}


def tiny_program(machine: str) -> bytes | None:
    """Return the ELF file for a machine as named by ``os.uname``, or ``None`` if there is none."""
    if machine not in _MACHINES:
        return None
    number, code = _MACHINES[machine]
    size = _HEADERS + len(code) + len(GREETING)
    identity = b"\x7fELF" + bytes([2, 1, 1])  # 64 bits, little endian, version 1
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", identity, _EXECUTABLE, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", _LOAD, _READ_EXECUTE, 0, _BASE, _BASE, size, size, _ALIGNMENT)
    return header + segment + code + GREETING
