"""Sound in and out. Nothing that is imported here reports to anybody: onnxruntime would, from its import on, and
writes an identifier of the machine for that. Children inherit the setting."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
