"""``python -m mmdmlora``: see :mod:`mmdmlora.cli`."""

from mmdmlora.cli import main

if __name__ == '__main__':
    main()
