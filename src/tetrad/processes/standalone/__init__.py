"""One supervisor that runs the whole product on one machine."""

from tetrad.processes.standalone._settings import SETTINGS
from tetrad.processes.standalone._supervisor import Supervisor, bind_ports

__all__ = ["SETTINGS", "Supervisor", "bind_ports"]
