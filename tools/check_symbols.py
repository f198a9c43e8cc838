#!/usr/bin/env python3
"""Functions of Orrery that the program cannot reach: dead code, or code that only tests call.

    tools/check_symbols.py [BUILD]        (default: build/dev, which must hold a built `orrery`)

Reads the object files of the program's libraries, not the sources: from main() and the static
initialisers it follows every relocation, as a linker that drops unused sections would. What a
function calls inside its own object without a relocation (functions in unnamed namespaces) counts as
reached with the object; once a dead caller is gone, the compiler names those.

tools/symbols_for_tests.txt lists what may stay: a regular expression over the demangled name, then
`#` and why. An expression that matches nothing unreached is an error too.

Exit 0: nothing to report. 1: functions, or lines of the list, to remove. 2: nothing could be read.
"""

import bisect
import pathlib
import re
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALLOWED = ROOT / "tools" / "symbols_for_tests.txt"

SHT_SYMTAB, SHT_RELA, SHT_INIT_ARRAY = 2, 4, 14
SHF_ALLOC, SHF_EXECINSTR = 2, 4
STB_LOCAL, STB_GLOBAL = 0, 1
STT_FUNC, STT_SECTION = 2, 3
# `T::T(T&&)` and `T::operator=(T&&)`.
MOVES = re.compile(r"(\w+)::(\1|operator=)\([\w:]+&&\)$")
# What refers to functions without using them.
SILENT = (".eh_frame", ".debug", ".gcc_except_table", ".note", ".comment")


class Object:
    """One object file: its symbols, and for each section what it refers to."""

    def __init__(self, path):
        self.path = path
        data = path.read_bytes()
        if data[:4] != b"\x7fELF" or data[4] != 2 or data[5] != 1:
            raise ValueError(f"{path} is no 64-bit little-endian object")
        offset, = struct.unpack_from("<Q", data, 40)
        entry_size, count, names_index = struct.unpack_from("<HHH", data, 58)
        if count == 0:  # more sections than fit: the number is in the first one
            count = struct.unpack_from("<Q", data, offset + 32)[0]
        if names_index == 0xFFFF:
            names_index = struct.unpack_from("<I", data, offset + 40)[0]
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * entry_size) for i in range(count)]
        text = self._strings(data, headers[names_index])
        self.sections = [text(h[0]) for h in headers]
        self.flags = [h[2] for h in headers]
        self.symbols = []  # (name, binding, type, section, value)
        self.starts = {}  # section -> sorted [(value, symbol index)] of its named symbols
        self.references = {}  # section -> [(offset, symbol index, addend)]
        self.roots = [i for i, h in enumerate(headers) if h[1] == SHT_INIT_ARRAY]
        self._read_symbols(data, headers)
        self._read_relocations(data, headers)

    @staticmethod
    def _strings(data, header):
        begin = header[4]

        def text(index):
            end = data.index(b"\0", begin + index)
            return data[begin + index : end].decode()

        return text

    def _read_symbols(self, data, headers):
        extended = next((h for h in headers if h[1] == 18), None)  # SHT_SYMTAB_SHNDX
        for header in headers:
            if header[1] != SHT_SYMTAB:
                continue
            text = self._strings(data, headers[header[6]])
            for i, (name, info, _, section, value, _) in enumerate(
                struct.iter_unpack("<IBBHQQ", data[header[4] : header[4] + header[5]])
            ):
                if section == 0xFFFF and extended:
                    section = struct.unpack_from("<I", data, extended[4] + 4 * i)[0]
                elif section >= 0xFF00:
                    section = 0
                kind = info & 15
                self.symbols.append((text(name), info >> 4, kind, section, value))
                if section and kind != STT_SECTION and text(name):
                    self.starts.setdefault(section, []).append((value, i))
        for list_ in self.starts.values():
            list_.sort()

    def _read_relocations(self, data, headers):
        for header in headers:
            if header[1] != SHT_RELA or self.sections[header[7]].startswith(SILENT):
                continue
            if not self.flags[header[7]] & SHF_ALLOC:
                continue
            self.references[header[7]] = [
                (where, info >> 32, addend)
                for where, info, addend in struct.iter_unpack("<QQq", data[header[4] : header[4] + header[5]])
            ]

    def is_code(self, section):
        return bool(self.flags[section] & SHF_EXECINSTR)

    def owner(self, section, offset):
        """The symbol that covers an offset of a section, or None."""
        starts = self.starts.get(section, [])
        place = bisect.bisect_right(starts, (offset, len(self.symbols))) - 1
        return starts[place][1] if place >= 0 else None


class Graph:
    """Nodes: a global name; (object, 'local', symbol); (object, 'section', number)."""

    def __init__(self, objects):
        self.edges = {}
        self.roots = ["main"]
        self.defined = {}  # global function -> where
        for number, item in enumerate(objects):
            self._add(number, item)

    def _node(self, number, item, symbol):
        name, binding, kind, section, _ = item.symbols[symbol]
        if kind == STT_SECTION:
            return (number, "section", section)
        if binding == STB_LOCAL:
            base = re.sub(r"\.(cold|part|constprop|isra|lto_priv)(\.\d+)*", "", name)
            if base != name:  # a piece of another function
                for _, other in item.starts.get(section, []) + [
                    s for starts in item.starts.values() for s in starts
                ]:
                    if item.symbols[other][0] == base:
                        return self._node(number, item, other)
            return (number, "local", symbol)
        return name

    def _link(self, source, target):
        self.edges.setdefault(source, set()).add(target)

    def _add(self, number, item):
        for section in item.roots:
            self.roots.append((number, "section", section))
        for index, (name, binding, kind, section, _) in enumerate(item.symbols):
            if not section or kind == STT_SECTION or not name:
                continue
            node = self._node(number, item, index)
            if item.is_code(section):
                # Calls to functions of the same object need no relocation.
                self._link(node, (number, "code", section))
                if binding == STB_LOCAL and kind == STT_FUNC:
                    self._link((number, "code", section), node)
                if binding == STB_GLOBAL and kind == STT_FUNC:
                    self.defined.setdefault(name, item.path)
            elif not item.sections[section].startswith((".bss", ".tbss")):
                self._link(node, (number, "section", section))
        for section, references in item.references.items():
            for where, symbol, addend in references:
                source = self._source(number, item, section, where)
                self._link(source, self._target(number, item, symbol, addend))

    def _source(self, number, item, section, where):
        if not item.is_code(section):
            return (number, "section", section)
        owner = item.owner(section, where)
        return (number, "section", section) if owner is None else self._node(number, item, owner)

    def _target(self, number, item, symbol, addend):
        _, _, kind, section, _ = item.symbols[symbol]
        if kind == STT_SECTION and item.is_code(section):
            for offset in (addend, addend + 4):  # absolute, or relative to the next instruction
                for value, owner in item.starts.get(section, []):
                    if value == offset:
                        return self._node(number, item, owner)
            return (number, "code", section)
        return self._node(number, item, symbol)

    def reached(self):
        seen = set(self.roots)
        stack = list(self.roots)
        while stack:
            for target in self.edges.get(stack.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        return seen


def demangled(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def allowed():
    rules = []
    for number, line in enumerate(ALLOWED.read_text().splitlines(), 1):
        expression, _, why = line.partition(" #")
        if not expression.strip() or expression.startswith("#"):
            continue
        if not why.strip():
            sys.exit(f"{ALLOWED}:{number}: say why after #")
        rules.append((number, re.compile(expression.strip())))
    return rules


def source_of(path):
    return re.sub(r".*?src/(\w+)/CMakeFiles/[^/]+/(.*)\.o", r"src/\1/\2", str(path))


def unreached(build, root=None):
    """root: leaves out what was compiled from sources that are gone from there, or made by a generator."""
    paths = sorted(p for p in (build / "src").glob("*/CMakeFiles/orrery_*.dir/**/*.o")
                   if root is None or (root / source_of(p)).exists())
    mains = sorted((build / "CMakeFiles" / "orrery.dir" / "src").glob("*.o"))
    if not paths or not mains:
        print(f"no objects of the program in {build}: build `orrery` first", file=sys.stderr)
        sys.exit(2)
    graph = Graph([Object(path) for path in paths + mains])
    seen = graph.reached()
    names = sorted(graph.defined)
    alive, dead = set(), {}
    for name, text in zip(names, demangled(names)):
        if not text.startswith("orrery::"):
            continue
        if MOVES.search(text):
            continue  # part of the type, called or not
        if name in seen:
            alive.add(text)
        else:
            dead[text] = graph.defined[name]
    # Constructors and destructors have several symbols.
    return {text: path for text, path in dead.items() if text not in alive}, len(alive)


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "dev")
    dead, n_alive = unreached(build, ROOT)
    status = 0
    rules = allowed()
    used = set()
    for text, path in sorted(dead.items(), key=lambda item: (str(item[1]), item[0])):
        number = next((n for n, rule in rules if rule.search(text)), None)
        if number is not None:
            used.add(number)
            continue
        print(f"{source_of(path)}: {text}: the program does not reach it")
        status = 1
    for number, rule in rules:
        if number not in used:
            print(f"{ALLOWED.name}:{number}: matches nothing that is unreached: remove the line")
            status = 1
    print(f"{n_alive} functions reached, {len(dead)} not, {len(used)} of {len(rules)} exceptions used")
    return status


if __name__ == "__main__":
    sys.exit(main())
