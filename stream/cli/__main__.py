"""`python -m stream.cli`, the same as `forebay`."""

import sys

from stream.cli import main

if __name__ == "__main__":
    sys.exit(main())
