"""`python -m gram ...` is the command `gram ...` of the package."""
import os
import sys


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for program in (os.path.join(here, "bin", "gram"), os.path.join(here, "..", "..", "build", "gram")):
        if os.path.exists(program):
            os.execv(program, ["gram"] + sys.argv[1:])
    sys.exit("gram: the program is not in this package")


if __name__ == "__main__":
    main()
