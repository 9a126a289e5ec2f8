"""Run the command line: `python -m forebay` is the same as `forebay`."""

import sys

from forebay.stream.cli import main

if __name__ == "__main__":
    sys.exit(main())
