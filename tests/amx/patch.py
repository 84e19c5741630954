"""patch.py - copies programs and libraries with cpuid and xgetbv replaced by an invalid instruction of the same length,
for amx.c to answer:   python3 patch.py TO FILE..."""
import pathlib, re, shutil, subprocess, sys

EARLY = "__cpu_indicator_init|get_available_features"   # libgcc's own, asked before any handler can be there
NEAR = 96       # bytes before a candidate at which disassembling begins; x86 code falls into step within a few of them

def text_sections(path):
    """(offset in the file, address, size) of what is executed."""
    out = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
    for m in re.finditer(r"\] (\.\S+) +PROGBITS +([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) \S+ +AX", out):
        yield int(m[3], 16), int(m[2], 16), int(m[4], 16)

def said(path, start, stop):
    """Address -> (mnemonic, function)."""
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={start}", f"--stop-address={stop}",
                          path], capture_output=True, text=True, check=True).stdout
    words, function = {}, ""
    for m in re.finditer(r"^ *([0-9a-f]+)(?: <([^>+]*)[^>]*>)?:(?:\t(\S+))?", out, re.M):
        function = m[2] or function
        words[int(m[1], 16)] = (m[3], function)
    return words

def patch(path, to):
    data, n = bytearray(path.read_bytes()), 0
    for offset, address, size in text_sections(path):
        for m in re.finditer(rb"\x0f\xa2|\x0f\x01\xd0", bytes(data[offset:offset + size])):
            at = address + m.start()
            name = "cpuid" if len(m[0]) == 2 else "xgetbv"
            word, function = said(path, max(address, at - NEAR), at + 16).get(at, ("", ""))
            if word == name and not re.match(EARLY, function):
                data[offset + m.start():offset + m.start() + 2] = b"\x0f\x0b"
                n += 1
    to.write_bytes(data)
    to.chmod(0o755)
    return n

def main():
    to = pathlib.Path(sys.argv[1])
    for name in map(pathlib.Path, sys.argv[2:]):
        print(f"{name.name}: {patch(name.resolve(), to / name.name)} instructions")

main()
