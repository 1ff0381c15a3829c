"""The live HTML status report."""
