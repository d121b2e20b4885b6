"""What exporting raises."""


class ExportError(ValueError):
    """A model that cannot be written in a format, or a package that is missing for it."""
