"""The first table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Made once."""

    initial = True
    operations = [  # noqa: RUF012  # as Django has it
        migrations.CreateModel("Entry", [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())]),
    ]
