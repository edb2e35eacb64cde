"""`python -m reactive_demo` is `reactive-demo`."""

import sys

from reactive_demo.cli import main

if __name__ == "__main__":
    sys.exit(main())
