"""What may have moved since the champion was trained, one thing a file; the module's name is the check's name.

A new check is a new file in this folder with a function ``measure(inputs: Inputs) -> Comparison | None``; nothing
else has to be edited. `detect` finds and runs all of them, `report` shows them with Evidently.
"""
