"""``python -m deepseg_export`` is the command line."""

from deepseg_export.cli.group import main

if __name__ == "__main__":
    main()
