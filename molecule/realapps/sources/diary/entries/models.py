"""Tables."""

from django.db import models


class Entry(models.Model):
    """What was written on a day."""

    text = models.TextField()
