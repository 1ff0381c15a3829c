"""Code that runs inside a flow's kernel; standalone, sent as text or imported by name."""
