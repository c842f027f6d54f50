"""The parts as the SDK offers them: each method is an endpoint. A product adds a class here and a line in `client`.

A part is the same class in both worlds: `Agents[Sync]` has methods that return, `Agents[Async]` methods that are awaited.
"""

from __future__ import annotations

from creto.edge.api import (
    agents,
    approvals,
    approvers,
    audit,
    bus,
    memory,
    objects,
    passkeys,
    policies,
    system,
    time,
    uploads,
    votes,
    webhooks,
)
from creto.sdk.asking import await_approval, granted
from creto.sdk.line import Composed, Method, Part, Steps, World
from creto.sdk.uploading import put
from creto.sdk.waiting import wait


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
    issue_override = Method(policies.OVERRIDE)


class AuditLog(Part[World]):
    """What happened, and the proof of it."""

    query = Method(audit.QUERY)
    get = Method(audit.GET)
    prove = Method(audit.PROVE)
    append = Method(audit.APPEND)
    checkpoint = Method(audit.CHECKPOINT)
    consistency = Method(audit.CONSISTENCY)
    keys = Method(audit.TRUST)


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


class Objects(Part[World]):
    """Objects, sealed before they leave the layer. `put` takes any length; the uploads below are for who sends parts by themselves."""

    put = Composed(objects.PUT, put)
    get = Method(objects.GET)
    stat = Method(objects.STAT)
    list = Method(objects.LIST)
    delete = Method(objects.DELETE)
    retain = Method(objects.RETAIN)
    hold = Method(objects.HOLD)
    create_upload = Method(uploads.CREATE)
    put_part = Method(uploads.PUT_PART)
    complete_upload = Method(uploads.COMPLETE)
    list_parts = Method(uploads.PARTS)
    list_uploads = Method(uploads.LIST)
    abort_upload = Method(uploads.ABORT)


class Approvals(Part[World]):
    """Asking humans, and deciding as one."""

    create = Method(approvals.CREATE)
    list = Method(approvals.LIST)
    inbox = Method(approvals.INBOX)
    history = Method(approvals.HISTORY)
    get = Method(approvals.GET)
    cancel = Method(approvals.CANCEL)
    wait = Composed(approvals.WAIT, wait)
    await_approval = Steps(await_approval)
    granted = Steps(granted)
    use = Method(approvals.USE)
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
    """Where notifications are posted to."""

    add = Method(webhooks.ADD)
    list = Method(webhooks.LIST)
    rotate = Method(webhooks.ROTATE)
    disable = Method(webhooks.DISABLE)
    enable = Method(webhooks.ENABLE)
    remove = Method(webhooks.REMOVE)


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
