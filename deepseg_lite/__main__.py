"""``python -m deepseg_lite`` is the command line."""

from deepseg_lite.cli.group import main

if __name__ == "__main__":
    main()
