# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""NVRTC by ctypes: compiles device code without a GPU. ``LONGCONV_TEST_NVRTC`` names libraries, separated by colons."""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct
from collections.abc import Mapping


class Nvrtc:
    """One library."""

    def __init__(self, path: str) -> None:
        for builtins in pathlib.Path(path).parent.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(builtins))
        self._library = ctypes.CDLL(path)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = (major.value, minor.value)

    def _check(self, result: int) -> None:
        assert result == 0, f"NVRTC error {result}"

    def compile(self, text: str, *options: str, headers: Mapping[str, str] | None = None) -> tuple[bytes, str]:
        """The machine code, or nothing where the text is refused; and the log."""
        headers = headers or {}
        program = ctypes.c_void_p()
        names, texts = (
            (ctypes.c_char_p * len(headers))(*(string.encode() for string in strings))
            for strings in (headers.keys(), headers.values())
        )
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program), text.encode(), b"test.cu", len(headers), texts, names
            )
        )
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        result = self._library.nvrtcCompileProgram(program, len(options), arguments)
        log = self._output(program, "ProgramLog").decode(errors="replace").rstrip("\0")
        image = self._output(program, "CUBIN") if result == 0 else b""
        self._check(self._library.nvrtcDestroyProgram(ctypes.byref(program)))
        return image, log

    def _output(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(self._library[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(self._library[f"nvrtcGet{what}"](program, buffer))
        return buffer.raw


def libraries() -> list[str]:
    """The paths that the environment names."""
    return [path for path in os.environ.get("LONGCONV_TEST_NVRTC", "").split(":") if path]


def functions(cubin: bytes) -> dict[str, bytes]:
    """The machine code of each function in an ELF file, by its (mangled) name."""
    (table,) = struct.unpack_from("<40xQ", cubin)
    entry_size, count, names = struct.unpack_from("<58xHHH", cubin)
    headers = [struct.unpack_from("<IIQQQQ", cubin, table + i * entry_size) for i in range(count)]
    strings = headers[names][4]
    found = {}
    for name, _, _, _, offset, size in headers:
        start = strings + name
        text = cubin[start : cubin.index(b"\0", start)].decode()
        if text.startswith(".text."):
            found[text[len(".text.") :]] = cubin[offset : offset + size]
    return found
