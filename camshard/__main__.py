"""`python -m camshard`."""

from camshard.cli import main

main()
