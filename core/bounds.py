"""What bounds a request, in numbers. docs/security.md says the same to operators.

Who holds a request to them, from the socket inwards:

- `rest/doors/connections.py`: the seconds, and the head;
- `events_platform/server.py`: how many connections a process has;
- `events_platform/front_door.py`: the largest body of a route, before the intake or Django sees a byte of it;
- `rest/doors/request_bodies.py`, `rest/doors/shares.py`: what all requests of a process have at once, and one
organization of it.

Nothing in here is imported from Django: gunicorn's master reads it before there are settings.
"""

KIB = 1024
MIB = 1024 * KIB

# --- Time ----------------------------------------------------------------------------------------------------

# From the connection, or from the first byte after the request before, to the end of the request's head.
HEAD_SECONDS = 30.0
# A body that takes longer goes on for as long as it comes at this rate.
BODY_SECONDS = 60.0
LEAST_BYTES_A_SECOND = 1 * KIB
# How long a client may leave an answer unread: what is held for it is 64 to 128 KiB, so this too is some KiB a second.
ANSWER_SECONDS = 60.0
# A connection that ends in the middle of a body stays half open for a moment, unread, so that its client can read the
# answer: closing it at once would be a reset, which may overtake the answer.
LINGER_SECONDS = 1.0
# Whoever works for a client that has gone may notice it and end; then the work is cancelled.
GONE_SECONDS = 3.0
# How often connections are looked at.
LOOK_SECONDS = 1.0

# --- One request ---------------------------------------------------------------------------------------------

# Request line and fields together; the target; one field, its name included, and how many there may be.
MAX_HEAD_BYTES = 32 * KIB
MAX_TARGET_BYTES = 4 * KIB
MAX_FIELD_BYTES = 8 * KIB
MAX_FIELDS = 100
# What one read of a socket takes at most: of a body that somebody waits for, and of anything else.
BODY_READ_BYTES, READ_BYTES = 64 * KIB, 8 * KIB
# Requests that wait on a connection for the answers before theirs, and the header fields of all of them: one read of
# the socket may bring thousands.
MAX_PIPELINED = 8
MAX_PIPELINED_FIELDS = MAX_FIELDS
# What is read of a body before anybody asks for it, which is before its sender is known; one read may go beyond it.
MAX_READ_AHEAD_BYTES = 4 * KIB
# Chunks of a few bytes each cost a hundred times what their bytes cost: so many are taken, then they must be larger.
MAX_TINY_CHUNKS = 4_096
TINY_CHUNK_BYTES = 16
# How much of a body that is too large is read before the connection is given up.
MAX_DISCARDED_BYTES = 16 * MIB

# --- All requests of a process -------------------------------------------------------------------------------

# With those to PostgreSQL and Redis they fit into the 1 024 descriptors that a process often has. Over it, those of
# whoever has most end that have waited longest: for their clients, or for their turn.
MAX_CONNECTIONS = 800

# Answers that stay open while there is nothing to say: waiting leases, and streams of events. They have no thread and
# no connection to PostgreSQL, so they come on top of MAX_CONNECTIONS, as far as there are descriptors.
MAX_WAITING_LEASES = 1_500
MAX_WAITING_LEASES_OF_ONE = 1_000
MAX_EVENT_STREAMS = 500
MAX_EVENT_STREAMS_OF_ONE = 100
# Descriptors that a process asks for, when it is given fewer.
WANTED_DESCRIPTORS = 4_096
USUAL_DESCRIPTORS = 1_024
# All consumers of an organization may come back at once, as after a restart: so many may queue for their place.
MAX_QUEUED_LEASES = 1_000
QUEUED_LEASE_SECONDS = 20.0

# Bodies that came with a key and are read or worked on. One is copied while it is decoded.
MAX_BYTES_IN_FLIGHT = 16 * MIB
# The first bytes of each body are bounded by the number of connections and count for nobody: small events are taken
# however many large bodies there are.
UNCOUNTED_BODY_BYTES = 16 * KIB
# Larger bodies need room for all that they declare before any of it is read. Smaller ones are cheaper to read than to
# refuse: who is refused comes back at once.
RESERVED_FROM_BYTES = 512 * KIB
# What one organization may have of them, so that none takes what the others need: two full batches.
MAX_BYTES_OF_ONE = 11 * MIB
# Bodies that came without one: forms. The longest is less than what one address may have.
MAX_FORM_BYTES_IN_FLIGHT = 4 * MIB
MAX_FORM_BYTES_OF_ONE = MIB
# Answers of the API from this size on that their readers have not taken yet; two full pages of a list for one.
LARGE_ANSWER_BYTES = 256 * KIB
MAX_ANSWER_BYTES_IN_FLIGHT = 64 * MIB
MAX_ANSWER_BYTES_OF_ONE = 32 * MIB

# Requests that Django works on at once, each in a thread, beside the intake's loop: of the API, and of pages. Of these
# an organization, or an address, has at most so many; a stream that has begun counts no more. Few, since they mostly
# compute and each that does makes the loop wait for the interpreter once more; enough that one may wait for a query.
MAX_API_REQUESTS = 8
MAX_API_REQUESTS_OF_ONE = 2
MAX_PAGE_REQUESTS = 6
MAX_PAGE_REQUESTS_OF_ONE = 2
# Tests of webhooks, from the API or a page, wait for a tenant's endpoint: each has a thread, but no place among these.
MAX_WEBHOOK_TESTS = 16
MAX_WEBHOOK_TESTS_OF_ONE = 2
# So does a request that stores a URL wait for a name service; its owner has no more requests for that.
MAX_LOOK_UPS = 16
# And whoever signs in, for the one thread that hashes: the last of them some three seconds on an idle machine.
MAX_HASHES = 8
# And whoever stores a schema, or sends an event in the console, for a process that checks schemas.
MAX_SCHEMA_CHECKS = 8
# Probes must not wait for pages.
MAX_HEALTH_REQUESTS = 16
MAX_HEALTH_REQUESTS_OF_ONE = 8
# Of the requests in Django one computes at a time, for so long; then the next one goes on beside it, and sooner where
# the other has computed for so long before, or its owner for more than FREE_TIME lately: a request has a turn after
# each of its queries. Whoever has waited for the longest time goes on beside the others, too.
TURN_SECONDS, SHORT_TURN_SECONDS = 0.02, 0.0005
LONGEST_TURN_WAIT_SECONDS = 1.0
# Of a process's time, what one owner's requests may compute in Django while others want something too, in seconds of
# each second. Who has computed more lately than FREE_TIME pauses after each request, for the longer the more it was:
# with SAVED_TIME seconds that leaves just the share. Below, nothing is felt of it: of 25 ms each, an owner's four
# requests a second would otherwise wait for each other as soon as somebody attacks. No pause makes a request wait until
# it is refused.
TIME_SHARE = 0.1
FREE_TIME, SAVED_TIME = 0.1, 0.2
LONGEST_PAUSE_SECONDS = 3.0
# A statement that takes longer than this makes PostgreSQL compute for its owner too.
FREE_STATEMENT_SECONDS = 0.01
# What is refused costs its sender nothing. Of one owner a process answers so many such requests at once, then so many a
# second; each further one waits for its turn, or this long.
REFUSALS_AT_ONCE = 20
REFUSALS_A_SECOND = 50
REFUSAL_WAIT_SECONDS = 2.0
# Nobody else has wanted anything for so long: then there is nobody to share with.
ALONE_AFTER_SECONDS = 2.0
# Of answers that have begun, large lists and live pages, so many read at once; their order is that of their asking.
MAX_STREAM_READS = 2
# How many more of the same one may wait, and for how long.
MAX_WAITING = 100
WAITING_SECONDS = 5.0
