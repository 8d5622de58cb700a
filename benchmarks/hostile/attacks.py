"""All attacks: a row of the table each."""

from benchmarks.hostile import bodies, broker, connections, endpoints, people
from benchmarks.hostile.attacker import Attack

ATTACKS = (
    Attack(name="no attack, but one program that computes", run=people.compute, bound=None),
    Attack(name="field names of 36 and 126 KB, at every endpoint", run=bodies.field_names),
    Attack(
        name="batches of 1 000 events of a costly schema",
        begin=bodies.store_costly_schema,
        run=bodies.check_costly_batches,
        plan="business",
    ),
    Attack(name="60 large schemas", begin=bodies.store_large_schemas, run=bodies.check_large_schemas),
    Attack(name="nesting without end", run=bodies.nesting),
    Attack(name="compressed bombs", run=bodies.bombs),
    Attack(name="lists of events of huge numbers", begin=bodies.store_huge_numbers, run=bodies.list_events),
    Attack(name="lists of 25 MB", begin=bodies.store_large_texts, run=bodies.list_events),
    Attack(name="answers that nobody reads", begin=bodies.store_large_texts, run=connections.unread_answers),
    Attack(name="200 bodies of 4.9 MB without a key", run=connections.keyless_bodies),
    Attack(name="200 bodies of 4.9 MB that never end", run=connections.unfinished_bodies),
    Attack(name="300 bodies of a byte a second", run=connections.dripping_bodies),
    Attack(name="500 heads of a line a second", run=connections.slow_heads),
    Attack(name="1 000 idle connections", run=connections.idle),
    Attack(name="1 600 connections of refusals", run=connections.waiting_refusals),
    Attack(name="forms of 800 MB without a key", run=connections.large_forms),
    Attack(name="malformed HTTP", run=connections.malformed),
    Attack(name="44 sign-ins at once", run=people.sign_ins),
    Attack(name="20 password resets a second", run=people.resets),
    Attack(name="pages that need no key", run=people.open_pages),
    Attack(name="keys that nobody has", run=people.unknown_keys),
    Attack(name="a flood of 1 667 events a second", run=people.flood, bound=1.5),
    Attack(name="costly lists and pages", begin=people.store_events, run=people.far_pages, plan="business"),
    Attack(name="200 live pages", run=people.streams),
    Attack(name="types, keys, views and exports", run=people.growth, plan="business"),
    Attack(
        name="a suspended organization that replays",
        begin=people.suspend,
        run=people.replay_suspended,
        never=people.WEBHOOK,
    ),
    Attack(name="tests to an endpoint that floods", begin=endpoints.start_flooding_endpoint, run=endpoints.send_tests),
    Attack(
        name="events to an endpoint that floods", begin=endpoints.start_flooding_endpoint, run=endpoints.send_events
    ),
    Attack(name="events to 300 inboxes", begin=endpoints.make_inboxes, run=endpoints.send_events),
    Attack(name="malformed messages to the workers", run=broker.malformed_messages),
    Attack(name="commands to the workers", run=broker.control_messages),
)
