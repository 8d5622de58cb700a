"""Numbers of `/metrics`, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families as parse

TOKEN = "a-token-of-some-length"


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = parse(text.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}
