"""The version, from the package's own metadata."""

from importlib.metadata import version

VERSION = version("creto")
