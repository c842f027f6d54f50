"""Every limit of the layer, each with its reason. A queue, body, batch, page, retry or depth without one is a defect."""

from typing import Final

# Identity and delegation
CHAIN_LINKS_MAX: Final = 16  # a walk is bounded before any signature is checked; 8 is the deepest chain in use
CHAIN_BYTES_MAX: Final = 256 * 1024  # 16 hybrid links of about 4 KiB, and room for long scopes
SCOPE_PATTERNS_MAX: Final = 64  # actions or resources named by one delegation link
SCOPE_PATTERN_CHARS_MAX: Final = 256  # one pattern; longer ones are mistakes
SIGNATURE_BYTES_MAX: Final = 8 * 1024  # a hybrid signature is 3,374 bytes; room for the next suite
CHAINS_CACHED_MAX: Final = 16_384  # facts of verified chains, about 2 KiB each
CHAINS_DECODED_MAX: Final = 256  # chains kept with their bytes, up to 100 KiB each
LINKS_VERIFIED_MAX: Final = 65_536  # digests of verified links, about 100 bytes each
IDENTITIES_CACHED_MAX: Final = 16_384  # identities in memory, about 6 KiB each with their parsed keys
DEPENDENTS_MAX: Final = 262_144  # (ancestor, agent) pairs that a revocation must reach in this process
TOKEN_BYTES_MAX: Final = 8 * 1024  # a bearer token travels in a header; servers cut headers at 8 KiB
TOKEN_TTL_S_MAX: Final = 3600  # a leaked bearer token is worth an hour at most
TOKENS_CACHED_MAX: Final = 65_536  # tokens known not to be revoked, about 200 bytes each
TOKEN_CAVEATS_MAX: Final = 16  # each costs one HMAC to check
LOGIN_TTL_S: Final = 600  # a one-time login link is opened at once or not at all
SIGN_IN_TTL_S: Final = 300  # from a click to the passkey's answer: time to fetch the phone that holds it
CERTIFICATE_TTL_S_MAX: Final = 7 * 86_400  # short-lived: nobody needs to publish revocation lists
CERTIFICATE_BYTES_MAX: Final = 16 * 1024  # one certificate or request
ROTATION_OVERLAP_S_DEFAULT: Final = 86_400  # a day to hand the new key out
ROTATION_OVERLAP_S_MAX: Final = 30 * 86_400  # beyond it two keys would be one too many
ROTATIONS_MAX: Final = 1_000  # keys of one line: a revocation ends all of them in one transaction
KEM_KEY_BYTES_MAX: Final = 2 * 1024  # an ML-KEM-768 key is 1,184 bytes, the hybrid 1,216
CHALLENGE_TTL_S: Final = 60  # signing takes a millisecond; a minute forgives a slow network
ONE_TIME_PREKEYS_MAX: Final = 200  # a bundle for a few days of new sessions

# Crypto
BATCH_LEAVES_MAX: Final = 1 << 20  # leaves under one seal: the tree lives in memory, 64 MiB of hashes
SUITE_LIST_BYTES_MAX: Final = 16 * 1024  # a few hundred bytes and one composite signature
JWS_BYTES_MAX: Final = 256 * 1024  # a payload of a hundred KiB and a few post-quantum signatures
JWS_SIGNATURES_MAX: Final = 8  # each costs a verification
KEK_BYTES_MAX: Final = 4096  # what a file or program may give for a key of 64 digits
KEK_COMMAND_TIMEOUT_S: Final = 10.0  # a vault across the network answers in one; start-up waits for it
KEYS_CACHED_MAX: Final = 4096  # opened keys in memory, about 10 KiB each with both halves
REWRAP_ROWS_MAX: Final = 200  # keys re-sealed in one transaction: a few milliseconds of the writer

# Text and ids
ID_CHARS_MAX: Final = 200  # any id, action, subject or resource name
TENANT_CHARS_MAX: Final = 64  # it stands in every key, metric and file name
METADATA_BYTES_MAX: Final = 64 * 1024  # metadata of one audit entry
INTEGER_MAX: Final = 2**63 - 1  # what SQLite and PostgreSQL keep in a bigint

# Requests
BODY_BYTES_MAX: Final = 8 * 1024 * 1024  # one REST body or gRPC message
HEAD_BYTES_MAX: Final = 1024 * 1024  # request line and headers: a chain of 16 links takes half of it at most
HEAD_S_MAX: Final = 20.0  # their arrival; a connection that says nothing is closed
BODY_S_MAX: Final = 20.0  # its arrival; less than the deadline, so that who is slow hears that it was them
BATCH_ITEMS_MAX: Final = 1_000  # one batch call: decoding holds the loop for a few milliseconds
PAGE_ITEMS_MAX: Final = 1_000  # a page is one answer of a few hundred KiB
PAGE_ITEMS_DEFAULT: Final = 100  # what fits a person's screen a few times over
CURSOR_CHARS_MAX: Final = 8_192  # the longest key of a list is an object's: 1,024 characters, as JSON and base64
READY_S_MAX: Final = 2.0  # one probe of a dependency, as the deployment's readiness probe allows
CALLERS_RATED_MAX: Final = 16_384  # callers whose rate is kept in memory, some 200 bytes each
DEADLINE_S_DEFAULT: Final = 30.0  # a call without a deadline gets this one
UPKEEP_S: Final = 300.0  # between two rounds of tidying: what is swept has waited for hours anyway

# Configuration and telemetry
CONFIG_FILE_BYTES_MAX: Final = 1024 * 1024  # people write these by hand
COUNTED_MAX: Final = 100_000  # rows that wait, as a scrape counts them: some 10 ms; more is told as this many
METRIC_LABEL_SETS_MAX: Final = 1_000  # label values of one metric; what comes after is counted under "other"

# Retries
RETRY_DELAY_S_MAX: Final = 3600.0  # nobody waits longer inside one call

# Store and bus
STORE_QUEUE_MAX: Final = 10_000  # transactions waiting for the writer: the spec's local buffer; beyond it PL-503
STORE_GROUP_MAX: Final = 512  # transactions in one commit: a few milliseconds of work
STORE_POOL_SIZE: Final = 10  # PostgreSQL connections of a process that write, and as many that read
STORE_POOL_SIZE_MAX: Final = 200  # each is a thread here and a process at the server, which takes 100 by default
STORE_CONNECT_S: Final = 2  # to a PostgreSQL that may be away: the shortest that its library knows
STORE_RETRIES_MAX: Final = 10  # serialization failures of one transaction
STORE_READERS_MAX: Final = 4  # threads that answer `Store.read`: a core's worth of queries each
STORE_BUSY_S_MAX: Final = 10.0  # waiting for another process that writes to the same SQLite file
STORE_SIGNAL_BYTES_MAX: Final = 4096  # a signal names what changed; NOTIFY carries 8,000 bytes
STORE_SIGNAL_REST_S: Final = 0.04  # between looks of who is woken by commits: for those that died before they rang, in the 50 ms a signal may take
STORE_SIGNAL_ALONE_S: Final = 0.25  # the same while no other process has the file open: its own commits need no hurry
STORE_SIGNAL_POLL_S: Final = 0.01  # between looks where nobody is woken: five within those 50 ms, at 1 % of a core
STORE_SIGNAL_PAUSE_S: Final = (
    0.001  # what a look waits longer for others to commit too, with each that follows the one before …
)
STORE_SIGNAL_PAUSE_S_MAX: Final = 0.005  # … up to this: 200 looks a second under load
STORE_SIGNAL_KEPT_S: Final = 60.0  # a node that slept longer is told that it lost signals
STORE_HEARTBEAT_S: Final = 2.0  # one small write; a dead node is noticed after three
STORE_NODE_STALE_S: Final = 4.0  # without a heartbeat this long a node distrusts its own caches …
STORE_NODE_DEAD_S: Final = 6.0  # … before the others stop waiting for it
STORE_WAL_PAGES: Final = (
    400  # 1.6 MiB of write-ahead log: then a checkpoint beside the writer; its sync delays commits by 2 ms
)
STORE_WAL_STEP_MAX: Final = 12_800  # pages until the next, where the last was quick: 50 MiB, of which the same few pages again and again are one
STORE_CHECKPOINT_S_MAX: Final = 0.05  # copy and sync; a commit waits for the sync at most. The next copies half as much
STORE_WAL_PAGES_MAX: Final = (
    12_800  # then the writer lets the checkpoint come to its end, and the log starts anew, in the same place
)
IDEMPOTENCY_LOCK_S: Final = 300  # the spec's lock on an operation whose owner may have died
IDEMPOTENCY_SWEEP: Final = 10_000  # keys looked at in one pruning step
BUS_DELIVERIES_MAX: Final = 5  # then the message is a dead letter
BUS_FETCH_MAX: Final = 256  # messages handed to a consumer at once
BUS_SUBJECT_TOKENS_MAX: Final = 16  # what NATS matches without allocating
BUS_OUTSTANDING_MAX: Final = 5_000  # messages of one durable between hand-out and ack; then it takes no new ones
BUS_PARALLEL_MAX: Final = 16  # agents whose messages one subscription works on at a time
BUS_LEASE_S: Final = 10.0  # a consumer that died is noticed after this; a living one renews
BUS_RETENTION_S: Final = 7 * 86_400  # a week in which a message can be replayed
BUS_POLL_S: Final = 0.02  # how late a publication of another process is seen; our own commits wake us
STORE_RECHECK_S: Final = 1.0  # between two looks of who is woken by every change; a lost wake-up is made good then
BUS_BACKOFF_S_INITIAL: Final = 0.1  # a hiccup is over by then
BUS_BACKOFF_S_MAX: Final = 30.0  # nobody's next try is further away than half a minute
BUS_HEADER_BYTES_MAX: Final = 16 * 1024  # names and values of one message
BUS_LANES: Final = 8  # agents are spread over so many ordered lanes on a broker
BUS_PAYLOAD_BYTES_MAX: Final = 1024 * 1024  # the default limit of NATS

# Time
CLOCK_SKEW_MS_MAX: Final = 100  # the spec's tolerance
CLOCK_RESERVE_S: Final = (
    1.0  # the persisted mark runs this far ahead: a crash can push the clock that far forward at most
)
CLOCK_SLEW_PART: Final = (
    10  # a wrong clock is corrected by a tenth of the time that passes: deadlines stretch by no more
)
CLOCK_DRIFT_PPM_MAX: Final = 500  # how fast two healthy oscillators part, with a wide margin
TIME_NODES_MAX: Final = 31  # f = 10; each round costs a verification per node
TIME_ROUND_S: Final = 1.0  # between rounds 1 ms of uncertainty grows at most
TIME_AGE_S_MAX: Final = 5.0  # older than five rounds is not fresh: the clock says it is degraded
TIME_ANSWER_S_MAX: Final = 0.18  # half of it is the reading's uncertainty, which must stay below the tolerance
TIME_FRAME_BYTES_MAX: Final = 8 * 1024  # a hybrid-signed reading takes 5 KiB
TIME_CONNECTIONS_MAX: Final = 256  # clients of one time node, each asking once a second
TIME_IDLE_S_MAX: Final = 30.0  # a connection without a request is closed
LEASE_TTL_S_MAX: Final = 3600  # who crashes blocks the others for this long at most
DECISION_CERTIFICATE_BYTES_MAX: Final = 512 * 1024  # 64 hybrid signatures in base64 and a long statement
CERTIFICATE_SEATS_MAX: Final = 64  # approvers of one decision
TIMESTAMPS_MAX: Final = 100_000  # one batch: it runs ahead of the reading by 0.1 ms at most

# Storage and memory
CHUNK_BYTES: Final = 64 * 1024  # one sealed chunk
OBJECT_KEY_CHARS_MAX: Final = 1024  # what S3 takes
OBJECT_BYTES_MAX: Final = 5 * 1024**4  # what S3 takes
OBJECT_WHOLE_BYTES_MAX: Final = 256 * 1024**2  # read into memory at once; larger objects are streamed
OBJECT_METADATA_BYTES_MAX: Final = 8 * 1024  # S3 takes 2 KiB; ours is sealed and kept in the row
SEGMENT_BYTES_MAX: Final = 64 * 1024**3  # one blob: 8,192 parts of 8 MiB, within the 10,000 of an S3 upload
STORAGE_PART_BYTES: Final = 8 * 1024**2  # one request to the backend; S3 wants at least 5 MiB
STORAGE_PARTS_IN_FLIGHT: Final = 4  # a stream holds about 32 MiB
UPLOAD_PARTS_MAX: Final = 10_000  # what S3 takes
UPLOADS_OPEN_MAX: Final = 1_000  # of one tenant at a time: who forgets theirs does not fill the disk for a week
UPLOAD_TTL_S: Final = 7 * 86_400  # an upload nobody finished
BLOB_GRACE_S: Final = 3_600  # a replaced blob may still have readers
PUT_S_MAX: Final = 86_400  # 5 TiB at 60 MiB/s; a put that takes longer is refused
BLOB_ORPHAN_S: Final = (
    2 * PUT_S_MAX
)  # a blob older than this that no row names belongs to no put that could still commit
CONTEXT_BYTES_MAX: Final = 1024 * 1024  # one remembered item
CONTEXT_ITEMS_MAX: Final = 100_000  # of one agent, of each kind: what exact search answers in time
CONTEXT_TTL_S_MAX: Final = 10 * 365 * 86_400  # ten years: what lives longer has no end
SEARCH_TOKENS_MAX: Final = 32  # words of one query
INDEX_TOKENS_MAX: Final = 10_000  # distinct words indexed of one item
VECTOR_DIMENSIONS_MAX: Final = 4096  # the widest embeddings in use have fewer

# Audit
NOTE_BYTES_MAX: Final = 256 * 1024  # a checkpoint with 64 post-quantum cosignatures of 3.3 KiB each
NOTE_SIGNATURES_MAX: Final = 64  # signed-note demands at least 16
PROOF_HASHES_MAX: Final = 63  # the height of the largest tree a database counts; tlog-witness allows no more
PROOF_TILES_CACHED_MAX: Final = 512  # unfolded full tiles in memory, 33 KiB each
SEQUENCE_STEP: Final = (
    128  # leaves of one step while the log keeps up: a millisecond of the writer and of Python's lock
)
SEQUENCE_BATCH_MAX: Final = 512  # leaves of one sequencing transaction: about 5 ms of the writer
SEQUENCE_AHEAD_MAX: Final = (
    3  # batches on their way to the writer: while the disk syncs one, the next are there to be written
)
WORD_MERGE_PAGES: Final = (
    8  # of the index of words, merged with one batch: a millisecond, where its own merges take twenty
)
WORD_MERGE_LEAVES: Final = (
    4  # a larger batch merges a page for so many leaves: it keeps up, with some ten segments at any size
)
QUERY_WINDOW: Final = 1_000_000  # places of the log that one page of an indexed query looks at
QUERY_WINDOW_COMBINED: Final = 100_000  # where one index is walked and other fields compared
QUERY_WINDOW_UNINDEXED: Final = 20_000  # where each entry in the window has to be compared: some 20 ms
QUERY_SORTED_MAX: Final = 2_000  # matches of a narrow resource prefix that are sorted on the spot
QUERY_WORDS_MAX: Final = 16  # words of one full-text query; an id is five of them
INDEX_CHARS_MAX: Final = 512  # of a name in the query index: two KiB at most, what PostgreSQL takes as a key
TEXT_WORDS_MAX: Final = 256  # words of one entry that can be searched for
WITNESS_RETRY_S_MIN: Final = 0.5  # after a witness did not answer …
WITNESS_RETRY_S_MAX: Final = 60.0  # … doubling, and once a minute while it stays away
WITNESS_S_MAX: Final = 10.0  # a witness looks up one row and signs; longer is an outage
WITNESSES_MAX: Final = 32  # what tlog-policy asks implementations to support
VECTOR_CACHE_BYTES_MAX: Final = 256 * 1024**2  # unsealed vectors kept in memory, over all agents

AUDIT_LATE_S: Final = 10  # an entry is signed within two seconds; so late, nobody keeps the log

# Authorization
AUTHZ_EXPRESSION_DEPTH_MAX: Final = (
    200  # operators within one another; people write ten, Python's stack bears a thousand
)
AUTHZ_NESTING_MAX: Final = (
    100  # brackets or conditionals open at once in a text; Cedar's parser overflows the stack at 1,000
)
AUTHZ_CHAIN_MAX: Final = (
    1_000  # operators in one policy: each is a level of the parser's tree, which ends the process at some 10,000
)
AUTHZ_GROUPS_MAX: Final = 1_000_000  # names times `in` in a schema: the most pairs of action and group that it can make
AUTHZ_REASON_CHARS_MAX: Final = 500  # of what the engine says against a policy: it may print whole types
AUTHZ_FAULTS_MAX: Final = 20  # that one refusal of a text of policies tells
AUTHZ_RESOURCE_CHARS_MAX: Final = (
    2_048  # the longest object key, with the names before it; a remembered decision holds it
)
AUTHZ_PATHS_MAX: Final = 500  # dots in one policy: a presence test of a path grows with its square
AUTHZ_POLICY_BYTES_MAX: Final = 4 * 1024 * 1024  # one tenant's policies: some 10,000
AUTHZ_CONTEXT_BYTES_MAX: Final = 64 * 1024  # attributes of one request or entity
ARGS_DIGEST_BYTES_MIN: Final = 32  # of an operation's arguments, over the wire: no shorter hash is a suite of ours
ARGS_DIGEST_BYTES_MAX: Final = 65  # a suite's byte and the longest hash
AUTHZ_TTL_S: Final = 10.0  # a decision is remembered this long: the shortest of the spec's cache times
AUTHZ_DECISIONS_MAX: Final = 200_000  # remembered decisions of a process; the oldest makes room
AUTHZ_AGENT_DECISIONS_MAX: Final = 20_000  # of one agent: none crowds out the others
AUTHZ_SWEEP_S: Final = 0.02  # the shortest pause between two sweeps: an expired decision is gone so much later
AUTHZ_SWEEP_LATE_S: Final = (
    0.04  # a decision that outlives its time by this tells of a dead sweeper: all is forgotten, within 50 ms
)
AUTHZ_TENANTS_MAX: Final = 1_000  # tenants whose policies are held compiled
AUTHZ_ENTITIES_MAX: Final = 50_000  # entities in memory
AUTHZ_PARENTS_MAX: Final = 64  # groups that one entity names
AUTHZ_REPLAY_ENTRIES_MAX: Final = 100_000  # entries of the log that one dry run over recorded requests looks at
GATE_CONTEXT_BYTES_MAX: Final = 4 * 1024  # of one operation's attributes, in its entry in the log
AUTHZ_DRY_RUN_MAX: Final = 10_000  # requests of one dry run: a second or so
OVERRIDE_TTL_S_MAX: Final = 3_600  # an approval is acted on within the hour or asked for again
OVERRIDE_TOKEN_BYTES_MAX: Final = 20 * 1024  # ours take 5 KiB, with the longest names of resource and policies 17
OVERRIDES_ADMITTED_MAX: Final = 10_000  # tokens that wait to be consumed in one process

# The gate
REFUSALS_PER_MINUTE_MAX: Final = 60  # of one caller, each as an entry; the rest of the minute is counted in one
REFUSALS_CALLERS_MAX: Final = 10_000  # callers whose refusals are counted at once, about 1 KiB each
REFUSAL_KINDS_MAX: Final = 32  # actions and codes of one caller that are counted apart
OUTCOME_TRIES_MAX: Final = 8  # writes of one outcome: some ten seconds, within the caller's deadline

# Oversight
OVERSIGHT_ARGUMENTS_BYTES_MAX: Final = 64 * 1024  # all of it is shown to a human; larger things are named by a digest
OVERSIGHT_ARGUMENTS_DEPTH_MAX: Final = 32  # deeper structures nobody reads
OVERSIGHT_REASONING_CHARS_MAX: Final = 8_000  # of what the agent says: four pages, then a mark that there is more
OVERSIGHT_REASONING_ITEMS: Final = 10  # the spec's limit on memories fetched for one request
OVERSIGHT_REASONING_S_MAX: Final = 2.0  # an approver rather sees the request without the agent's reasons than late
OVERSIGHT_RECOLLECT_S: Final = 30.0  # how soon memory that was away is asked again for what a request lacks
OVERSIGHT_RECOLLECT_BATCH: Final = 16  # requests for which one step of the timer asks it: deadlines come first
OVERSIGHT_BRIEF_CHARS: Final = 240  # of one argument on a channel with little room
OVERSIGHT_SCHEMAS_MAX: Final = 50  # of one policy, one for each action
OVERSIGHT_SCHEMA_CHARS_MAX: Final = 20_000  # read whole for each request that it is about
OVERSIGHT_PATTERN_CHARS_MAX: Final = 200  # of a pattern in a schema
OVERSIGHT_PATTERN_TEXT_CHARS_MAX: Final = 1_000  # of a text that is held against one
OVERSIGHT_RISK_FACTORS_MAX: Final = 20  # that an agent sees in one request: more is a flood
OVERSIGHT_RISK_RULES_MAX: Final = 50  # of one policy: all are looked at for each request
OVERSIGHT_ITEMS_MAX: Final = 100  # acts in one request: more nobody judges one by one
OVERSIGHT_TEXT_CHARS_MAX: Final = 4_000  # a reason, comment, question or answer
OVERSIGHT_NOTES_MAX: Final = 200  # comments, questions and answers of one request
OVERSIGHT_NOTES_TOLD_MAX: Final = 10  # of them in one message, the latest: all stand on the page
OVERSIGHT_VOTES_MAX: Final = 500  # votes of one request, changed ones too
OVERSIGHT_NONCE_CHARS_MAX: Final = 200  # of a ballot: ours have 32, and 64 where a channel's delivery is one
OVERSIGHT_ROUNDS_MAX: Final = 20  # edits of one request
OVERSIGHT_JOINT_CHARS_MAX: Final = (
    1_000  # the names of all the policies that ask about one act: five of the longest, forty of twenty letters
)
OVERSIGHT_SIMILAR_MAX: Final = (
    20  # calls of the same kind, the newest: an approved one among them is what a request is compared with
)
OVERSIGHT_TIERS_MAX: Final = 16  # a chain of an hour each is most of a day
OVERSIGHT_APPROVERS_MAX: Final = 256  # names in one tier or group
OVERSIGHT_GROUPS_MAX: Final = 10_000  # policies, groups, addresses and delegations of a tenant, held in memory
OVERSIGHT_TIMEOUT_S_MAX: Final = 30 * 86_400  # a month: who waits longer has forgotten
OVERSIGHT_CLAIM_S_MAX: Final = 3_600  # a claim holds the escalation back for an hour at most
OVERSIGHT_CLAIM_LOOK_S: Final = 10  # how soon it is noticed that who holds it back cannot decide any more
CONSOLE_STREAMS_MAX: Final = 2_000  # pages that look on in one process: each holds a socket
CONSOLE_STREAM_S_MAX: Final = 600.0  # then the browser comes again and shows its session
CONSOLE_BULK_MAX: Final = 50  # requests decided with one click: more nobody has read
OVERSIGHT_HOLD_S: Final = 5  # how long a click on the page can be undone before the agent learns of it
OVERSIGHT_DRAFT_MS_MAX: Final = (
    50  # from working out what a vote does to its transaction; then it is worked out again, in it
)
OVERSIGHT_HOLD_S_MAX: Final = 60  # longer is no second thought: it is time taken from the agent
OVERSIGHT_PASSKEYS_MAX: Final = 16  # of one human: a phone, a laptop, a key and their spares
OVERSIGHT_EXTENSION_S_MAX: Final = 3_600  # by which one tier can be made longer in all
OVERSIGHT_SNOOZE_S_MAX: Final = 86_400  # a request that sleeps longer is not on its way to a decision
OVERSIGHT_DELEGATION_STEPS_MAX: Final = 4  # who stands in for whom who stands in for whom
OVERSIGHT_SEATINGS_MAX = (
    256  # ways to vote from one of several seats each that are tried before a policy is called unattainable
)
OVERSIGHT_DELEGATION_S_MAX: Final = 90 * 86_400  # a quarter: a longer absence is a change of the group
OVERSIGHT_BOUNDS_MAX: Final = 50  # of a counter-proposal, or of what is approved in advance: more is another question
OVERSIGHT_GRANT_S_MAX: Final = 7 * 86_400  # an approval in advance is renewed every week
OVERSIGHT_GRANT_USES_MAX: Final = 10_000  # beyond it the policy is wrong, not the asking
OVERSIGHT_BREAK_GLASS_S_MAX: Final = 3_600  # an emergency longer than this has time for an approval
OVERSIGHT_KEY_GRACE_S_MAX: Final = 300  # a signed vote is not longer on its way
OVERSIGHT_DECISION_BYTES_MAX: Final = 4 * 1024 * 1024  # 500 hybrid-signed votes in base64
OVERSIGHT_TIMER_BATCH: Final = 200  # requests that one step of the timer moves
OVERSIGHT_TIMER_S: Final = 0.1  # how late a deadline is noticed; votes notice it themselves
OVERSIGHT_LATE_S: Final = 30.0  # a deadline that nobody has noticed for so long: no worker turns the timer
OVERSIGHT_OPEN_MAX: Final = 1_000  # requests of one agent that wait: nobody reads more, and others must not be buried
OVERSIGHT_WAIT_S_MAX: Final = (
    25  # of one question for a decision: below the time that a call has, so that it is answered
)
OVERSIGHT_WAITERS_MAX: Final = 100_000  # coroutines that wait in one process, about 2 KiB each
NOTICES_KEPT_NS: Final = 90 * 86_400 * 10**9  # what quotas told, for who asks: three months, as long as most windows
NOTICES_FORGOTTEN_AT_ONCE: Final = 1_000  # in one transaction
EVENT_WAITERS_MAX: Final = (
    100_000  # coroutines of one process that wait for what becomes of a usage event, about 2 KiB each
)
OVERSIGHT_UNSEEN_S: Final = 300.0  # a card that nobody has looked at for five minutes is shown to the operator
OVERSIGHT_FALLBACK_ATTEMPTS: Final = 3  # failed attempts after which a human's other addresses are tried too
OVERSIGHT_TAKEN_S: Final = (
    60.0  # a process that took a notification and died is noticed after this; a send ends in half of it
)
OVERSIGHT_COURIER_S: Final = 0.25  # how late a due retry is noticed; new messages and decisions wake their channel
OVERSIGHT_COURIER_BATCH: Final = (
    16  # notifications of a channel that one process takes at once: sent within OVERSIGHT_TAKEN_S, however slowly
)
OVERSIGHT_RESEND_S_MAX: Final = 300.0  # between two tries while a provider is away
OVERSIGHT_CLOSING_ATTEMPTS: Final = 20  # tries to close a card: an hour and a half
OVERSIGHT_IDLE_S: Final = (
    15.0  # between two looks at what waits for a channel that is not configured: then the next address is tried
)
OVERSIGHT_REACH_S: Final = 300.0  # between two looks whether every chain ends in somebody who can be told
OVERSIGHT_LINK_S: Final = 7 * 86_400  # a link in a mail shows its request for a week
OVERSIGHT_PERMITS_KEPT_MAX: Final = 10_000  # tokens handed out by this process, for who asks twice

# Processes
CHILD_BACKOFF_S_MAX: Final = 30.0  # a role that keeps crashing is tried twice a minute
CHILD_HEALTHY_S: Final = 60.0  # who lived so long begins anew with short pauses
GATHER_S_MAX: Final = 3.0  # a process answers for its health within READY_S_MAX, and a second for the way
CHILD_DRAIN_S_MAX: Final = 20.0  # twice what a server takes to answer what it has accepted

# Metering
DECIMAL_DIGITS_MAX: Final = 60  # of an exact amount: a quantity of 27 digits times a price of 27, and room to sum
CURRENCY_DIGITS_MAX: Final = 12  # decimals of a currency of one's own: a millionth of a millionth
TIERS_MAX: Final = 100  # of one price; people write five
PERIODS_MAX: Final = (
    10_000  # billing periods looked at in one question: eleven hundred years of months, a year of hours
)
CROSSINGS_MAX: Final = 10_000  # thresholds passed in one step: beyond it the distance between them is a mistake
TOKEN_PRICES_MAX: Final = 10_000  # models of one price table; the public lists have three thousand
SUBSCRIBE_KEY_S: Final = 7 * 86_400  # a saga that was interrupted is resumed within the week, as ingestion is
INVOICES_REBOOKED_MAX: Final = 12  # final invoices that late events are looked for in: a year of months
SERIES_CHARS_MAX: Final = 32  # of a series of invoices: with its number it fits the head of a page
UNREAD_SHOWN_MAX: Final = 100  # ids of events on an invoice that no meter could read: enough to find what is wrong
INVOICE_FILE_EVENTS_MAX: Final = 5_000  # events proved in one file: some 1.5 KiB each, which fits a body
INVOICES_BEHIND_MAX: Final = 24  # periods of one subscription that one run catches up with: two years of months
PARTY_LINES_MAX: Final = 8  # of an address: what fits an envelope's window, and a country
PARTY_NAME_CHARS_MAX: Final = 200  # a line on paper takes some ninety
PAPER_STEPS_MAX: Final = 12  # of a price under one line on paper; the file has all of them
PAPER_AGENTS_MAX: Final = 50  # who bear an invoice, on paper: a page; the file has all of them
CREDITS_KEY_S: Final = 7 * 86_400  # a grant or a burn asked again within the week is the same one, as ingestion is
WALLETS_TENDED_MAX: Final = 1_000  # wallets whose grants end or renew in one round: a second of work
NAMES_SEARCHED_MAX: Final = 10_000  # things that the command line looks through for a name; ids need no search
WALLET_NAMES_MAX: Final = 50  # kinds of usage that one grant may pay for; beyond it a grant for all is meant
COUPONS_MAX: Final = 20  # of one subscription: all are looked at for every invoice
PLAN_CHARGES_MAX: Final = 200  # fees and charges of one plan; each is a line of every invoice

# Stripe: its own limits, and ours towards it
STRIPE_S_MAX: Final = 30.0  # one request; finalising an invoice takes it a few seconds
STRIPE_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024  # a page of a hundred invoices is some hundreds of KiB
STRIPE_KEY_S: Final = 23 * 3600  # it forgets an idempotency key after 24 hours: from here on we look before we ask
STRIPE_LINES_MAX: Final = 250  # items of one invoice
STRIPE_LINES_STEP: Final = 100  # of them in one request
STRIPE_TEXT_CHARS_MAX: Final = 500  # of a description or a value of metadata
STRIPE_PAGE_ITEMS: Final = 100  # of a list, the most it gives
STRIPE_PAGES_MAX: Final = 1_000  # looked through for an object of ours: a hundred thousand
STRIPE_METER_VALUE_MAX: Final = 10**15 - 1  # fifteen digits in one meter event; what is more goes into several
STRIPE_METER_EVENTS_MAX: Final = 100  # of one change of one quantity: beyond it the quantity is a mistake
STRIPE_METER_PAST_S: Final = 34 * 86_400  # it takes usage of the last 35 days; a day for what waits
STRIPE_EVENT_BYTES_MAX: Final = 1024 * 1024  # one webhook; an invoice shows ten of its lines there
STRIPE_EVENT_SKEW_S: Final = 300  # between its clock and ours: an older webhook is a replay
STRIPE_EVENTS_KEPT_S: Final = 30 * 86_400  # it sends again for three days, a person by hand for thirty
STRIPE_WAIT_S_MAX: Final = 60.0  # between two tries while it is away

# Webhooks: what Standard Webhooks recommends, and our own patience
WEBHOOK_BODY_BYTES_MAX: Final = 256 * 1024  # a hint with its proof; what is larger is fetched
WEBHOOK_ANSWER_BYTES_MAX: Final = 16 * 1024  # of an answer only the status counts
WEBHOOK_S_MAX: Final = 20.0  # one attempt, from the name's look-up to the status
WEBHOOK_CONNECT_S_MAX: Final = 5.0  # one address; the next one is tried after it
WEBHOOK_ADDRESSES_MAX: Final = 4  # of one name that are tried
WEBHOOK_SKEW_S: Final = 300  # between the sender's clock and the receiver's: older is a replay
WEBHOOK_ROTATION_S: Final = 86_400  # both secrets sign for a day, unless the rotation says otherwise
WEBHOOK_ROTATION_S_MAX: Final = 30 * 86_400  # who has not changed it in a month never will
WEBHOOK_URL_CHARS_MAX: Final = 2_048  # what proxies and servers take
WEBHOOK_ENDPOINTS_MAX: Final = 1_000  # of one tenant
WEBHOOK_THROTTLE_S_MAX: Final = 3_600  # a Retry-After beyond an hour is not a throttle
WEBHOOK_WISHES_MAX: Final = 50  # patterns of events that one endpoint wants
WEBHOOK_BATCH: Final = 50  # webhooks on their way at once
WEBHOOK_TAKEN_S: Final = 60  # who took one and died is noticed after this: three attempts' time
WEBHOOK_LOOK_S: Final = 1.0  # how late one is whose time has come
WEBHOOK_KEPT_S: Final = 30 * 86_400  # a month in which a person looks what was delivered, and sends it again

# Slack: its own limits, and ours towards it
SLACK_BODY_BYTES_MAX: Final = 256 * 1024  # one callback; a card of ours comes back with each click
SLACK_SKEW_S: Final = 300  # what Slack's own documentation allows: older is a replay
SLACK_REPLAY_S: Final = 3_600  # how long a callback is remembered: longer than its signature is good for
SLACK_ANSWER_S_MAX: Final = 2.5  # Slack waits three seconds, then shows the human an error
SLACK_CALL_S_MAX: Final = 10  # one call of its API
SLACK_CALLS_MAX: Final = 8  # at a time: each has a thread; it takes about one message a second
SLACK_TEXT_CHARS_MAX: Final = 2_900  # of one text in a block: it takes 3,000
SLACK_CARD_CHARS_MAX: Final = 9_000  # of one card: what is longer is read on the page
SLACK_MODAL_CHARS_MAX: Final = 40_000  # of one modal: Slack takes 250 kB, and a character may be six bytes of JSON
SLACK_LIST_MAX: Final = 20  # open requests in one answer to a command
SLACK_INSTALLS_MAX: Final = 100  # workspaces of one installation; each callback is tried on all their secrets

# Mail
MAIL_S_MAX: Final = 25.0  # one mail, from the connection to the relay's word
MAIL_SUBJECT_CHARS_MAX: Final = 150  # what inboxes show of it
USAGE_PROPERTIES_MAX: Final = 64  # of one event; meters read two or three
USAGE_PROPERTY_CHARS_MAX: Final = 1_024  # of one text in them: names and addresses, never documents
USAGE_PROPERTIES_BYTES_MAX: Final = 16 * 1024  # all of one event's, as JSON
USAGE_AHEAD_S_MAX: Final = 300  # an event that is further in the future has a wrong clock
USAGE_BEHIND_S_MAX: Final = 366 * 86_400  # as far back as final invoices are corrected
SUBSCRIPTIONS_READ_MAX: Final = (
    10_000  # of a tenant read at once, some 100 ms; of more each is read as an event asks for it
)
SUBSCRIBERS_CACHED_MAX: Final = 65_536  # agents of a tenant whose subscriptions, or that they have none, are in memory
USAGE_CHAINS_CACHED_MAX: Final = 65_536  # delegation chains known to be in rows, some 200 bytes each
USAGE_FOLD_EVENTS: Final = 8_000  # events that one step adds to the running totals: some 60 ms of the writer
USAGE_FOLD_S: Final = 1.0  # between two looks for events that wait to be added: a question reads those one by one
USAGE_WAITING_MAX: Final = (
    150_000  # events that may wait: what comes in two or three seconds; a question reads so many in one
)
USAGE_LOOK_EVENTS: Final = 10_000  # that a process takes in between two looks how many wait
USAGE_SCANNED_MAX: Final = 1_000_000  # events that one question looks at one by one: a few seconds
USAGE_BUCKETS_MAX: Final = 10_000  # slices of time in one question: a year of hours
USAGE_LATE_S: Final = 600  # a transaction that took its time before an invoice was final is on disk by then
USAGE_UNKNOWN_TRIES: Final = 4  # the spec's three retries for an agent that nobody knows yet, and the first try
USAGE_EXPORT_SCANNED_MAX: Final = 20_000  # events that one page of an export looks at: a tenth of a second
ARCHIVE_BATCHES: Final = 10_000  # batches whose days are noted in one step: a question of some seconds at worst
ARCHIVE_DAYS: Final = 200  # days of tenants that one pass over the events serves: each costs a file
ARCHIVE_EVENTS: Final = 5_000  # events that are read and handed on at once: some 5 MiB
ARCHIVE_PIECE_BYTES: Final = 4 * 1024 * 1024  # of a part on its way to storage and back
ANALYTICS_MEMORY_MIB: Final = 512  # what DuckDB takes before it goes to disk
ANALYTICS_THREADS: Final = 2  # beside a worker that has other things to do
SQL_CHARS_MAX: Final = 100_000  # of one question; people write one screen

# Quotas
QUOTA_LIMITS_MAX: Final = 9  # windows of one quota: one of each unit
QUOTA_PATTERNS_MAX: Final = 64  # kinds of acts that one quota counts, as a delegation link's
QUOTA_MARKS_MAX: Final = 10  # percents of one limit at which somebody is told
QUOTAS_MAX: Final = 1_000  # of a tenant: all are looked through when an agent first does something
QUOTA_COUNTERS_MAX: Final = 1 << 23  # limits × subjects × windows in one process: 64 MiB of cells, as they are touched
QUOTA_DRAW_S_MAX: Final = 2.0  # a check that has to ask the shared limit; then it is refused
QUOTA_TRIES_MAX: Final = 16  # of one reservation, while other threads spend what it drew
QUOTA_LEASE_ACTS_MAX: Final = 100_000  # of one kind, for which a node draws at once: rarer draws gain nothing
QUOTA_STRIPES: Final = 64  # agents whose leases are drawn at the same time
QUOTA_FULL_MS: Final = 100  # a shared limit that had nothing is not asked again before: others may give back
QUOTA_RESERVATION_S: Final = 3_600  # the longest act; what nobody settles by then is released
QUOTA_EXPIRED_KEPT_MAX: Final = 10_000  # reservations that may still be settled after they were released
QUOTA_UPKEEP_S: Final = 0.5  # between two looks at what is to be given back
QUOTA_PRUNE_S: Final = 300  # counters of windows that are over go as other leftovers do
QUOTA_PRUNED_MAX: Final = 10_000  # of them in one transaction: some ten milliseconds of the writer
AMOUNT_DIGITS_MAX: Final = (
    24  # before and behind the point, of a number that somebody asks with: micros of a trillion need 18
)
COSTS_KEPT_NS: Final = 40 * 86_400 * 1_000_000_000  # hours and days of costs: a month and what comes late
QUOTA_BATCH: Final = 500  # counters in one transaction
QUOTA_AMOUNT_MAX: Final = 10**12  # of one reservation, or what it was settled with: millions of them fit into a counter
QUOTA_EVENT_MAX: Final = 10**12  # that one event counts: as much as one act
QUOTA_DUE_S: Final = 2  # whoever ingests books at once; what is older was left by a process that died, or by an outage
QUOTA_TOLD_MAX: Final = 100_000  # counters of which a process remembers what it told; beyond it asks the rows again

# Cost thresholds and anomalies
THRESHOLDS_MAX: Final = 1_000  # of a tenant, looked through at every costly event
COSTS_KEPT_MAX: Final = 1_048_576  # running totals in memory, some 300 bytes each
WAITING_MAX: Final = 100_000  # events of a tenant that wait for a human; beyond it new ones are refused
RATES_KEPT_MAX: Final = 1_048_576  # agents whose usual rate is in memory, some 500 bytes each
HABIT_DAYS: Final = 21  # of history that a habit is rebuilt from: of what is older a hundredth is left in it
HABIT_CHAINS_MAX: Final = 1_000  # of an agent, looked at for its habit: what it does under others is left out
HABITS_ASKED_MAX: Final = 100_000  # agents whose history waits to be read; of more a process learns as it sees them
HABITS_BATCH: Final = 50  # agents whose history is read at once
