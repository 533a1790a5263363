"""What a user calls: one module a command, each with ``main(arguments, program)``.

``program`` is what the user typed before the arguments, for help and for messages.
"""

from prompt_optimization.threads import prefer_passive_waiting

prefer_passive_waiting()  # before a command loads torch
