"""The machine that all tasks share: it knows no modality and no task.

A task comes to it as a spec (core/spec.py) and a runtime (core/api.py); which tasks there are is
written in pipelines/domains.py.
"""
