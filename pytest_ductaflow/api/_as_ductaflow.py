"""The build installs this file as the module `ductaflow`."""

import pytest_ductaflow.api.as_ductaflow  # noqa: F401 - takes the place of this module
