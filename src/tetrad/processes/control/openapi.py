"""`python -m tetrad.processes.control.openapi`: print the API's description, for the console's typed client."""

from __future__ import annotations

import json
import os
import sys
import tempfile

from tetrad.processes._settings import product_settings


def document() -> dict[str, object]:
    """Return the OpenAPI document of the whole control plane; nothing is left behind."""
    from tetrad.kit.home import Home
    from tetrad.processes.control._app import build_app
    from tetrad.processes.control._compose import build_services

    with tempfile.TemporaryDirectory(prefix="tetrad-openapi-") as folder:
        os.environ["TETRAD_HOME"] = folder
        settings = product_settings()
        services = build_services(settings, Home.of(settings))
        try:
            return build_app(services).openapi()
        finally:
            services.close()


def main() -> None:
    """Print it."""
    json.dump(document(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
