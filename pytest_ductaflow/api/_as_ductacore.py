"""The first name of the API: the build installs this file as the module `ductacore`."""

import pytest_ductaflow.api.as_ductaflow  # noqa: F401 - takes the place of this module
