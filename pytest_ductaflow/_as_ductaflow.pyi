from pytest_ductaflow import *
from pytest_ductaflow import __version__ as __version__
