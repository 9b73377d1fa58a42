"""recloop keeps personalised recommendation running: data in, models compared, the winner served, feedback back."""

__version__ = "0.1.0"
