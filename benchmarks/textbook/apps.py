from django.apps import AppConfig


class TextbookConfig(AppConfig):
    name = "benchmarks.textbook"
    label = "textbook"
