"""``python -m pairwright``, and under a launcher ``accelerate launch -m pairwright``."""

from pairwright.cli import main

if __name__ == "__main__":
    main()
