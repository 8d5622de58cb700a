from rest_framework import serializers

from benchmarks.textbook.models import Event


class EventSerializer(serializers.ModelSerializer[Event]):
    type = serializers.RegexField(r"^[A-Za-z0-9._\-/]+$", max_length=255)

    class Meta:
        model = Event
        fields = ["id", "type", "source", "subject", "time", "data", "idempotency_key", "received_at"]
        read_only_fields = ["id", "received_at"]
