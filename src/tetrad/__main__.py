"""`python -m tetrad` is `tetrad`."""

from tetrad.processes.cli import main

main()
