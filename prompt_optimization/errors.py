"""The one exception for what a user can mend."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the value, the place and the mend. Entry points
    print it without a traceback and exit with code 2; everything else is a programmer's error
    and keeps its traceback.
    """
