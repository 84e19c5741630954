#!/usr/bin/env python3
"""The public headers as declarations for cffi: make_cdef.py INCLUDE_DIR OUT.py. The C compiler's preprocessor reads
them, with empty files in place of the system's headers, so nothing is written twice."""
import os
import re
import subprocess
import sys
import tempfile

HEADERS = ["error", "gram", "chat", "judge", "generate", "rationale", "dist", "train", "convert", "recipe", "align",
           "shipped"]
SYSTEM = ["stdbool.h", "stddef.h", "stdint.h"]


def declarations(include, compiler=os.environ.get("CC", "cc")):
    there = [h for h in HEADERS if os.path.exists(os.path.join(include, "gram", h + ".h"))]
    with tempfile.TemporaryDirectory() as empty:
        for name in SYSTEM:
            open(os.path.join(empty, name), "w").close()
        source = "".join(f"#include <gram/{h}.h>\n" for h in there)
        text = subprocess.run(compiler.split() + ["-E", "-P", "-nostdinc", "-I", empty, "-I", include, "-x", "c", "-"],
                              input=source, stdout=subprocess.PIPE, check=True, text=True).stdout
    text = re.sub(r"^#pragma.*$", "", text, flags=re.M)
    return re.sub(r"__attribute__\s*\(\(.*?\)\)", "", text)


if __name__ == "__main__":
    with open(sys.argv[2], "w") as out:
        out.write('"""Made by make_cdef.py from include/gram."""\nCDEF = r"""\n' + declarations(sys.argv[1]) + '"""\n')
