"""``python -m pairwright.cli``."""

from pairwright.cli import main

if __name__ == "__main__":
    main()
