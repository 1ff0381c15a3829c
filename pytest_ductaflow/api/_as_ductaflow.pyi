from pytest_ductaflow import *
from pytest_ductaflow import __version__ as __version__
from pytest_ductaflow.api.older_names import *
