"""Step time and memory of methods side by side: python tools/benchmark.py."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['benchmark', *sys.argv[1:]])
