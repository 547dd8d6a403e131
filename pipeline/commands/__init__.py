"""The commands of ``python -m pipeline``, a module for each subject; :mod:`pipeline.commands.table` lists them.

A command's docstring is its help: the first line stands in the list of commands, and what follows ``Examples:`` at the
end. It returns what it answers to programs, or nothing. What it needs is imported when it runs: `--help`, and each
stage of a run, must not wait for the others' libraries.
"""
