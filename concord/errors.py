"""The one exception for mistakes a user can mend."""


class UserError(Exception):
    """A mistake in the configuration or the inputs; its text is shown without a traceback.

    The text names the file or configuration key, what was found, what was expected and what to do.
    """
