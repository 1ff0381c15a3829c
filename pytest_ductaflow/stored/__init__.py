"""Stored instances: their files (`instance`), how they are made (`storing`), and judged by (`baseline`)."""
