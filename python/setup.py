"""Builds libgram and the program by the project's Makefile and puts both, with declarations from the public headers,
into the package. The rest stands in pyproject.toml."""
import os
import re
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.environ.get("GRAM_SOURCE") or os.path.dirname(HERE)


def version():
    with open(os.path.join(ROOT, "include", "gram", "gram.h"), encoding="utf-8") as f:
        return re.search(r'#define GRAM_VERSION "(.*)"', f.read()).group(1)


class Build(build_py):
    def run(self):
        super().run()
        sys.path.insert(0, HERE)
        import make_cdef
        to = os.path.join(self.build_lib, "gram")
        built = os.path.join(ROOT, "build")
        subprocess.run(["make", "-C", ROOT, "--no-print-directory", f"-j{os.cpu_count()}", "all", "build/libgram.so"],
                       check=True)
        for folder, name in (("lib", "libgram.so"), ("bin", "gram")):
            os.makedirs(os.path.join(to, folder), exist_ok=True)
            shutil.copy(os.path.join(built, name), os.path.join(to, folder, name))
        judges = os.path.join(ROOT, "data", "judge")
        if os.path.isdir(judges):
            shutil.copytree(judges, os.path.join(to, "judge"), dirs_exist_ok=True)
        with open(os.path.join(to, "_cdef.py"), "w", encoding="utf-8") as f:
            f.write('"""Made by make_cdef.py from include/gram."""\nCDEF = r"""\n' +
                    make_cdef.declarations(os.path.join(ROOT, "include")) + '"""\n')


class Wheel(bdist_wheel):
    def get_tag(self):                  # nothing of it is compiled against Python
        return ("py3", "none", super().get_tag()[2])


class Native(Distribution):
    def has_ext_modules(self):          # a wheel of one platform
        return True


setup(version=version(), packages=["gram"], package_data={"gram": ["py.typed"]},
      cmdclass={"build_py": Build, "bdist_wheel": Wheel}, distclass=Native)
