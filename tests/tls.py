"""A certificate of one's own, for tests that speak TLS."""

import subprocess
from pathlib import Path

NEW = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -nodes -subj /CN=localhost"


def certificate(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
    """Certificate and key, written there."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    own = ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*NEW.split(), *own], check=True, stderr=subprocess.DEVNULL)
    return cert, key
