"""Helpers that several test modules use."""

import os

os.environ["PYTHON_OF_TESTS"] = "ductaflow"  # warm processes of these tests serve no other sessions
