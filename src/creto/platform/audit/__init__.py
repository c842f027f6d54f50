"""The audit log: every ledger entry in a signed Merkle log, to be asked, proved and verified by whoever does not trust the server.

audit = Audit(store, clock, signer=SigningKey.generate(), origin="example.com/log")
audit.start()                                              # the sequencer, on its own thread
receipt = await audit.append(SandboxSpawned(…).entry(tenant=tenant, agent=agent, timestamp=clock.now()))
page = await audit.query(AuditQuery(tenant=tenant, action="runtime:spawn"))
proof = await audit.prove(receipt.event_id, tenant=tenant, fresh=True)
proof.verify(await audit.trust())                          # public keys alone
"""

from creto.platform.audit.batch import BatchProof, batch_event, prove_in_batch
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.events import AuditEvent, event_of
from creto.platform.audit.export import Exported, export_log, folder_put
from creto.platform.audit.keys import CosignerEd25519, CosignerMlDsa44, NoteKey
from creto.platform.audit.note import Note, NoteSignature
from creto.platform.audit.proof import InclusionProof, parse_proof
from creto.platform.audit.sequencer import Cadence
from creto.platform.audit.service import Audit, open_log, rotate_log_key
from creto.platform.audit.trust import Trust
from creto.platform.audit.types import (
    AuditQuery,
    AuditReceipt,
    AuditRecord,
    ConsistencyProof,
    LoggedEntry,
    LogStatus,
    MerkleProof,
    Page,
    UnifiedAuditEvent,
    Verdict,
)
from creto.platform.audit.verify import verify_database, verify_folder, verify_log
from creto.platform.audit.verify_chain import verify_chain
from creto.platform.audit.verify_decision import verify_decision
from creto.platform.audit.verify_file import Keys, People, Principal, register, verify_file
from creto.platform.audit.witness import Witness
from creto.platform.audit.witness_client import WitnessClient

__all__ = [
    "Audit",
    "AuditEvent",
    "AuditQuery",
    "AuditReceipt",
    "AuditRecord",
    "BatchProof",
    "Cadence",
    "Checkpoint",
    "ConsistencyProof",
    "CosignerEd25519",
    "CosignerMlDsa44",
    "Exported",
    "InclusionProof",
    "Keys",
    "LogStatus",
    "LoggedEntry",
    "MerkleProof",
    "Note",
    "NoteKey",
    "NoteSignature",
    "Page",
    "People",
    "Principal",
    "Trust",
    "UnifiedAuditEvent",
    "Verdict",
    "Witness",
    "WitnessClient",
    "batch_event",
    "event_of",
    "export_log",
    "folder_put",
    "open_log",
    "parse_proof",
    "prove_in_batch",
    "register",
    "rotate_log_key",
    "verify_chain",
    "verify_database",
    "verify_decision",
    "verify_file",
    "verify_folder",
    "verify_log",
]
