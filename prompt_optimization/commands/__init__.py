"""What a user calls: one module a command, each with ``main(arguments, program)``.

``program`` is what the user typed before the arguments, for help and for messages.
"""
