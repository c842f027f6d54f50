"""The parts as the SDK offers them: each method is an endpoint. A product adds a class here and a line in `client`.

A part is the same class in both worlds: `Agents[Sync]` has methods that return, `Agents[Async]` methods that are awaited.
"""

from __future__ import annotations

from creto.edge.api import (
    agents,
    approvals,
    approvers,
    archive,
    attention,
    audit,
    bus,
    credits,
    entities,
    keys,
    memory,
    needs,
    objects,
    overrides,
    passkeys,
    policies,
    quotas,
    stripe,
    system,
    thresholds,
    time,
    uploads,
    usage,
    votes,
    webhooks,
)
from creto.edge.api import invoices as invoicing  # the part below has methods of these names
from creto.edge.api import plans as planning
from creto.edge.api import subscriptions as subscribing
from creto.sdk.asking import await_approval, granted
from creto.sdk.line import Composed, Method, Part, Steps, World
from creto.sdk.uploading import put
from creto.sdk.waiting import wait, wait_event


class Agents(Part[World]):
    """Identities: who they are, their keys and their life."""

    register = Method(agents.REGISTER)
    list = Method(agents.LIST)
    get = Method(agents.GET)
    rotate = Method(agents.ROTATE)
    suspend = Method(agents.SUSPEND)
    resume = Method(agents.RESUME)
    revoke = Method(agents.REVOKE)
    jwk = Method(agents.JWK)
    bind_identity = Method(agents.BIND)
    bound_identity = Method(agents.BOUND)
    unbind_identity = Method(agents.UNBIND)
    prekey_counts = Method(agents.PREKEYS)
    publish_bundle = Method(agents.PUBLISH_BUNDLE)
    get_key_bundle = Method(agents.GET_KEY_BUNDLE)
    issue_certificate = Method(agents.CERTIFICATE)
    validate_signature = Method(agents.CHECK_SIGNATURE)


class Delegations(Part[World]):
    """Chains by which one acts for another."""

    validate = Method(agents.CHECK_CHAIN)
    revoke = Method(agents.REVOKE_LINK)


class Auth(Part[World]):
    """Tokens, and who they say I am."""

    challenge = Method(agents.CHALLENGE)
    token = Method(agents.TOKEN)
    issue = Method(agents.ISSUE)
    revoke = Method(agents.REVOKE_TOKEN)
    whoami = Method(agents.WHOAMI)


class Policies(Part[World]):
    """Who may do what: policies, roles, decisions and their reasons."""

    check = Method(policies.CHECK)
    why = Method(policies.WHY)
    list = Method(policies.LIST)
    get = Method(policies.GET)
    upload = Method(policies.UPLOAD)
    activate = Method(policies.ACTIVATE)
    diff = Method(policies.DIFF)
    dry_run = Method(policies.DRY_RUN)
    dry_run_recorded = Method(policies.DRY_RUN_RECORDED)
    roles = Method(policies.ROLES)
    assign_role = Method(policies.ASSIGN)
    unassign_role = Method(policies.UNASSIGN)
    members = Method(entities.MEMBERS)
    list_entities = Method(entities.LIST)
    get_entity = Method(entities.GET)
    put_entity = Method(entities.PUT)
    drop_entity = Method(entities.DROP)
    issue_override = Method(overrides.ISSUE)
    validate_override_token = Method(overrides.CHECK)
    revoke_override = Method(overrides.REVOKE)


class AuditLog(Part[World]):
    """What happened, and the proof of it."""

    query = Method(audit.QUERY)
    get = Method(audit.GET)
    prove = Method(audit.PROVE)
    append = Method(audit.APPEND)
    checkpoint = Method(audit.CHECKPOINT)
    consistency = Method(audit.CONSISTENCY)
    keys = Method(audit.TRUST)
    prove_in_batch = Method(audit.PROVE_IN_BATCH)
    checkpoints = Method(audit.CHECKPOINTS)
    file = Method(audit.FILE)


class Memories(Part[World]):
    """What agents remember, each for itself."""

    store_context = Method(memory.STORE)
    recent = Method(memory.RECENT)
    fetch_reasoning_context = Method(memory.FETCH)
    search = Method(memory.SEARCH)
    nearest = Method(memory.NEAREST)
    erase = Method(memory.ERASE)
    erase_agent = Method(memory.ERASE_AGENT)
    append_turns = Method(memory.APPEND)
    turns = Method(memory.TURNS)
    put_state = Method(memory.PUT_STATE)
    get_state = Method(memory.GET_STATE)
    get = Method(memory.GET)
    state_keys = Method(memory.STATE_KEYS)
    erase_state = Method(memory.ERASE_STATE)
    conversations = Method(memory.CONVERSATIONS)
    erase_conversation = Method(memory.ERASE_CONVERSATION)
    usage = Method(memory.USAGE)
    rotate_key = Method(keys.MEMORY)


class Objects(Part[World]):
    """Objects, sealed before they leave the layer. `put` takes any length; the uploads below are for who sends parts by themselves."""

    put = Composed(objects.PUT, put)
    get = Method(objects.GET)
    stat = Method(objects.STAT)
    list = Method(objects.LIST)
    delete = Method(objects.DELETE)
    retain = Method(objects.RETAIN)
    hold = Method(objects.HOLD)
    rotate_key = Method(keys.STORAGE)
    create_upload = Method(uploads.CREATE)
    put_part = Method(uploads.PUT_PART)
    complete_upload = Method(uploads.COMPLETE)
    list_parts = Method(uploads.PARTS)
    list_uploads = Method(uploads.LIST)
    abort_upload = Method(uploads.ABORT)


class Approvals(Part[World]):
    """Asking humans, and deciding as one."""

    create = Method(approvals.CREATE)
    check_approval_required = Method(needs.CHECK)
    list = Method(approvals.LIST)
    inbox = Method(approvals.INBOX)
    history = Method(approvals.HISTORY)
    get = Method(approvals.GET)
    cancel = Method(approvals.CANCEL)
    wait = Composed(approvals.WAIT, wait)
    await_approval = Steps(await_approval)
    granted = Steps(granted)
    use = Method(approvals.USE)
    report = Method(approvals.REPORT)
    answer = Method(approvals.ANSWER)
    decision_file = Method(approvals.DECISION)
    notifications = Method(approvals.NOTIFICATIONS)
    ballot = Method(votes.BALLOT)
    submit = Method(votes.SUBMIT)
    decide = Method(votes.DECIDE)
    comment = Method(votes.COMMENT)
    ask = Method(votes.ASK)
    claim = Method(votes.CLAIM)
    extend = Method(votes.EXTEND)
    snooze = Method(votes.SNOOZE)
    revoke = Method(votes.REVOKE)
    undo = Method(passkeys.UNDO)
    discard_notifications = Method(approvers.DISCARD)
    propose_grant = Method(approvers.PROPOSE_GRANT)
    submit_passkey = Method(passkeys.SUBMIT)
    list_passkeys = Method(passkeys.LIST)
    enrol_passkey = Method(passkeys.ENROL)
    remove_passkey = Method(passkeys.REMOVE)
    put_policy = Method(approvers.PUT_POLICY)
    policy = Method(approvers.GET_POLICY)
    policies = Method(approvers.POLICIES)
    put_group = Method(approvers.PUT_GROUP)
    groups = Method(approvers.GROUPS)
    link = Method(approvers.LINK)
    unlink = Method(approvers.UNLINK)
    contacts = Method(approvers.CONTACTS)
    delegate = Method(approvers.DELEGATE)
    end_delegation = Method(approvers.END_DELEGATION)
    delegations = Method(approvers.DELEGATIONS)
    grants = Method(approvers.GRANTS)
    end_grant = Method(approvers.END_GRANT)
    break_glass = Method(approvers.BREAK_GLASS)
    health = Method(approvers.HEALTH)
    signer = Method(approvers.SIGNER)


class Webhooks(Part[World]):
    """Where the layer posts to: what metering tells customers, and what humans are asked."""

    add = Method(webhooks.ADD)
    list = Method(webhooks.LIST)
    get = Method(webhooks.GET)
    want = Method(webhooks.WANT)
    rotate = Method(webhooks.ROTATE)
    disable = Method(webhooks.DISABLE)
    enable = Method(webhooks.ENABLE)
    remove = Method(webhooks.REMOVE)
    test = Method(webhooks.TEST)
    deliveries = Method(webhooks.DELIVERIES)
    delivery = Method(webhooks.DELIVERY)
    again = Method(webhooks.AGAIN)


class Metering(Part[World]):
    """What agents used: events in, totals and costs out."""

    submit_event = Method(usage.SUBMIT)
    submit_events = Method(usage.SUBMIT_MANY)
    event = Method(usage.EVENT_OF)
    wait_event = Composed(usage.WAIT, wait_event)
    prove = Method(usage.PROVE)
    explain = Method(usage.EXPLAIN)
    void = Method(usage.VOID)
    correct = Method(usage.CORRECT)
    finalize = Method(usage.FINALIZE)
    release = Method(usage.RELEASE)
    query_usage = Method(usage.USAGE)
    query_cost = Method(usage.COST)
    accumulated_cost = Method(usage.SPENT)
    dead_letters = Method(usage.DEAD)
    dead_letter = Method(usage.DEAD_LETTER)
    retry_dead_letter = Method(usage.RETRY)
    discard_dead_letter = Method(usage.DISCARD)
    prices = Method(usage.PRICES)
    unpaid = Method(attention.UNPAID)
    alerts = Method(attention.ALERTS)
    events = Method(archive.EVENTS)
    archive_usage = Method(archive.ARCHIVE)
    archives = Method(archive.LIST)
    archive_part = Method(archive.PART)
    archive_file = Method(archive.FILE)


class Quotas(Part[World]):
    """How much of what, held inside every act; limits on cost, and who waits for a human."""

    check_cost_threshold = Method(thresholds.CHECK)
    check_multiple_thresholds = Method(thresholds.CHECK_MANY)
    check_batch = Method(thresholds.CHECK_BATCH)
    put = Method(quotas.PUT)
    list = Method(quotas.LIST)
    get = Method(quotas.GET)
    delete = Method(quotas.DELETE)
    answer = Method(quotas.ANSWER)
    notices = Method(quotas.NOTICES)
    check = Method(quotas.CHECK)
    reserve = Method(quotas.RESERVE)
    settle = Method(quotas.SETTLE)
    release = Method(quotas.RELEASE)
    usage = Method(quotas.USAGE)
    set_settings = Method(quotas.SET_SETTINGS)
    settings = Method(quotas.SETTINGS)
    put_rate = Method(quotas.PUT_RATE)
    rates = Method(quotas.RATES)
    delete_rate = Method(quotas.DELETE_RATE)
    put_threshold = Method(quotas.PUT_THRESHOLD)
    thresholds = Method(quotas.THRESHOLDS)
    delete_threshold = Method(quotas.DELETE_THRESHOLD)
    waiting = Method(quotas.WAITING)
    anomaly = Method(quotas.ANOMALY)
    anomalies = Method(quotas.ANOMALIES)
    forgive = Method(quotas.FORGIVE)


class Billing(Part[World]):
    """Plans, subscriptions, and invoices that explain and prove themselves."""

    create_plan = Method(planning.CREATE)
    revise_plan = Method(planning.REVISE)
    plan = Method(planning.GET)
    plans = Method(planning.LIST)
    plan_versions = Method(planning.VERSIONS)
    subscribe = Method(subscribing.SUBSCRIBE)
    subscription = Method(subscribing.GET)
    subscriptions = Method(subscribing.LIST)
    change = Method(subscribing.CHANGE)
    override = Method(subscribing.OVERRIDE)
    apply_coupon = Method(subscribing.ADD_COUPON)
    remove_coupon = Method(subscribing.DROP_COUPON)
    set_taxes = Method(subscribing.TAXES)
    show_in = Method(subscribing.SHOW_IN)
    pause = Method(subscribing.PAUSE)
    resume = Method(subscribing.RESUME)
    cancel = Method(subscribing.CANCEL)
    terminate = Method(subscribing.TERMINATE)
    delete = Method(subscribing.DELETE)
    set_customer = Method(invoicing.SET_CUSTOMER)
    set_issuer = Method(invoicing.SET_ISSUER)
    letterhead = Method(invoicing.LETTERHEAD)
    preview = Method(invoicing.PREVIEW)
    draft = Method(invoicing.DRAFT)
    recount = Method(invoicing.RECOUNT)
    close = Method(invoicing.CLOSE)
    finalize = Method(invoicing.FINALIZE)
    void = Method(invoicing.VOID)
    credit_note = Method(invoicing.CREDIT)
    invoice = Method(invoicing.GET)
    invoices = Method(invoicing.LIST)
    csv = Method(invoicing.CSV)
    pdf = Method(invoicing.PDF)
    file = Method(invoicing.FILE)
    explain = Method(invoicing.EXPLAIN)
    reproduce = Method(invoicing.REPRODUCE)
    run = Method(invoicing.RUN)


class Credits(Part[World]):
    """Prepaid credits, and the terms that invoices are made by."""

    grant = Method(credits.GRANT)
    void = Method(credits.VOID)
    extend = Method(credits.EXTEND)
    wallet = Method(credits.WALLET)
    postings = Method(credits.POSTINGS)
    postings_for = Method(credits.POSTINGS_FOR)
    burn = Method(credits.BURN)
    set_top_up = Method(credits.SET_TOP_UP)
    drop_top_up = Method(credits.DROP_TOP_UP)
    top_ups = Method(credits.TOP_UPS)
    buy = Method(credits.BUY)
    purchases = Method(credits.PURCHASES)
    settle_purchase = Method(credits.SETTLE)
    create_coupon = Method(credits.PUT_COUPON)
    coupon = Method(credits.GET_COUPON)
    coupons = Method(credits.COUPONS)
    drop_coupon = Method(credits.DROP_COUPON)
    set_tax = Method(credits.PUT_TAX)
    taxes = Method(credits.TAXES)
    drop_tax = Method(credits.DROP_TAX)
    add_exchange_rate = Method(credits.ADD_RATE)
    exchange_rates = Method(credits.RATES)
    set_rules = Method(credits.SET_RULES)
    rules = Method(credits.RULES)


class Stripe(Part[World]):
    """Invoices that are collected at Stripe: who pays, what waits, what is paid."""

    standing = Method(stripe.STANDING)
    set_payer = Method(stripe.SET_PAYER)
    payer = Method(stripe.PAYER)
    payers = Method(stripe.PAYERS)
    payments = Method(stripe.PAYMENTS)
    payment = Method(stripe.PAYMENT)
    collect = Method(stripe.COLLECT)
    unfinished = Method(stripe.UNFINISHED)
    failed = Method(stripe.FAILED)
    retry = Method(stripe.RETRY)


class Bus(Part[World]):
    """What consumers of the bus could not take."""

    dead_letters = Method(bus.LIST)
    dead_letter = Method(bus.GET)
    replay_dead = Method(bus.REPLAY)
    discard_dead = Method(bus.DISCARD)


class Time(Part[World]):
    """Consensus time, leases, and the layer itself."""

    get_timestamp = Method(time.TIMESTAMPS)
    acquire_lease = Method(time.ACQUIRE)
    current_lease = Method(time.CURRENT)
    renew_lease = Method(time.RENEW)
    release_lease = Method(time.RELEASE)
    suites = Method(system.SUITES)
    system = Method(system.SYSTEM)
