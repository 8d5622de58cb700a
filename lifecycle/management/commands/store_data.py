"""`manage.py store_data text`, once no way back to the version before is wanted; `both` opens it again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from core.progress import progress_bar
from ingestion.models import Event
from lifecycle.data_forms import store_also_as_jsonb, store_text_alone


class Command(BaseCommand):
    help = "Store the data of events as text alone, or for the version before as well. It can be run again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("form", choices=["text", "both"])

    def handle(self, *_args: Any, form: str, **_options: Any) -> None:
        if form == "text":
            store_text_alone()
            self.stdout.write("Events are stored as text alone. The version before does not start any more.")
            return
        left = Event.objects.filter(data_jsonb__isnull=True).count()
        with progress_bar("Filled in", max(left, 1)) as progress:
            filled = store_also_as_jsonb(progress.show)
        self.stdout.write(f"Events are stored for the version before, too; {filled} were filled in. It may start.")
