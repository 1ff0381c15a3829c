"""Stored instances: what they are (`instance`), how they are made (`storing`), compared (`baseline`), updated.

A run becomes one by `storing`; its replay is compared by `baseline`; `approval` takes what it wrote as right.
"""
