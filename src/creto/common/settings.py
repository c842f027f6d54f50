"""The sections of the configuration: the client's keys and those of the foundation.

    [store]
    url = "postgresql://creto:${DB_PASSWORD}@db/creto"

    [metering]
    quota_cache_ttl_seconds = 60

A key marked LIVE changes on SIGHUP; any other waits for a restart. A product adds its own keys in its own file.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from creto.common.config import LIVE, Secret, section
from creto.common.errors import InvalidInput
from creto.common.ids import DEFAULT_TENANT, customer_tenant
from creto.common.limits import (
    BUS_PAYLOAD_BYTES_MAX,
    BUS_RETENTION_S,
    OVERSIGHT_TIMEOUT_S_MAX,
    STORE_POOL_SIZE,
    STORE_POOL_SIZE_MAX,
    STORE_QUEUE_MAX,
)
from creto.common.redact import redacted_text

Port = Annotated[int, Meta(ge=0, le=65535)]  # 0 takes a free one
WITNESS = re.compile(
    r"https?://[^\s/=\[\]]+(/[^\s=]*)?=[^\s+]+\+[0-9a-f]{8}\+\S+"
)  # the second part is a key in a note's form
HTTPS = re.compile(
    r"https://[^\s/]+(/\S*)?|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?/?"
)  # no key travels in the open
Positive = Annotated[int, Meta(ge=1, le=2**31)]


class TenantMode(StrEnum):
    """Whether one tenant owns the installation (calls without a tenant are its) or every call names its own."""

    SINGLE = "single"
    MULTI = "multi"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


@section("common")
class CommonConfig(msgspec.Struct, frozen=True):
    """An endpoint names a service that runs elsewhere; without one it runs in this process."""

    authz_endpoint: str | None = None
    audit_endpoint: str | None = None
    tenant: str = DEFAULT_TENANT
    tenant_mode: TenantMode = TenantMode.SINGLE

    def validate(self) -> None:
        customer_tenant(self.tenant)


@section("store")
class StoreConfig(msgspec.Struct, frozen=True):
    url: str = "sqlite:///creto.db"
    pool_size: Annotated[int, Meta(ge=1, le=STORE_POOL_SIZE_MAX)] = (
        STORE_POOL_SIZE  # PostgreSQL connections that write, and as many that read
    )
    queue_max: Annotated[Positive, LIVE] = STORE_QUEUE_MAX

    def validate(self) -> None:
        checked_scheme("store.url", self.url, "sqlite", "postgresql", "postgres")


@section("bus")
class BusConfig(msgspec.Struct, frozen=True):
    """`embedded` keeps messages in the store; a NATS address relays them to JetStream."""

    url: str = "embedded"
    token: Secret | None = None
    buffer_max: Annotated[Positive, LIVE] = (
        STORE_QUEUE_MAX  # messages that wait for a broker; beyond them `bus.publish` is refused, changes of the layer itself never are
    )
    retention_seconds: Annotated[int, Meta(ge=0), LIVE] = BUS_RETENTION_S  # how long delivered messages can be replayed

    def validate(self) -> None:
        if self.url != "embedded":
            checked_scheme("bus.url", self.url, "nats", "tls")


@section("redis")
class RedisConfig(msgspec.Struct, frozen=True):
    url: Secret | None = None


class AeadName(StrEnum):
    AES_256_GCM = "aes-256-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"
    AES_256_GCM_SIV = "aes-256-gcm-siv"


class SignatureName(StrEnum):
    ED25519 = "ed25519"
    HYBRID = "hybrid"


@section("crypto")
class CryptoConfig(msgspec.Struct, frozen=True):
    """Another suite holds for what is new from the restart on; what is old is read and verified as before."""

    kek: str = "file:creto.kek"  # where the key-encryption key comes from: file:PATH, env:NAME or command:LINE
    kek_previous: tuple[str, ...] = ()  # those that it replaces, until `creto keys rewrap` has sealed every key again

    aead_suite: AeadName = AeadName.CHACHA20_POLY1305  # seals keys, memories and objects
    # signs the log and the layer's own tokens; never a weaker one than before
    signature_suite: SignatureName = SignatureName.HYBRID

    def validate(self) -> None:
        for name, sources in (("crypto.kek", (self.kek,)), ("crypto.kek_previous", self.kek_previous)):
            for source in sources:
                if source.partition(":")[0] not in ("file", "env", "command"):
                    raise InvalidInput.of(
                        name, got=source, expected="file:PATH, env:NAME or command:LINE", code="PL-921"
                    )


@section("server")
class ServerConfig(msgspec.Struct, frozen=True):
    host: str = "127.0.0.1"
    grpc_port: Port = 8080
    rest_port: Port = 8081
    metrics_port: Port = 9090
    health_port: Port = 9091
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    # Of one caller in one process; 0 is no limit. A gateway that carries everybody's calls is one caller, so only the installation knows.
    requests_per_second_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    def validate(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidInput.of(
                "server.tls_cert", got="one of two", expected="tls_cert and tls_key together", code="PL-921"
            )
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InvalidInput.of(
                "server.tls_client_ca", got="no tls_cert", expected="tls_cert and tls_key too", code="PL-921"
            )


@section("consensus")
class ConsensusConfig(msgspec.Struct, frozen=True):
    """Time nodes as `HOST:PORT=PUBLICKEY`; none means the clock of this process."""

    nodes: tuple[str, ...] = ()


@section("audit")
class AuditConfig(msgspec.Struct, frozen=True):
    origin: str = "creto.local/log"  # the name in the log's checkpoints
    witnesses: tuple[str, ...] = ()
    witnesses_min: Annotated[int, Meta(ge=0, le=100)] = 0

    def validate(self) -> None:
        for named in self.witnesses:
            if not WITNESS.fullmatch(named):
                raise InvalidInput.of(
                    "audit.witnesses", got=named, expected="URL=VKEY, the URL with http:// or https://", code="PL-921"
                )
        if self.witnesses_min > len(self.witnesses):
            raise InvalidInput.of(
                "audit.witnesses_min", got=self.witnesses_min, expected=f"at most {len(self.witnesses)}", code="PL-921"
            )


@section("storage")
class StorageConfig(msgspec.Struct, frozen=True):
    url: str = "file://creto-objects"

    def validate(self) -> None:
        checked_scheme("storage.url", self.url, "file", "memory", "s3")


@section("telemetry")
class TelemetryConfig(msgspec.Struct, frozen=True):
    otlp_endpoint: str | None = None


@section("log")
class LogConfig(msgspec.Struct, frozen=True):
    level: Annotated[LogLevel, LIVE] = LogLevel.INFO
    format: Annotated[LogFormat, LIVE] = LogFormat.JSON


@section("metering")
class MeteringConfig(msgspec.Struct, frozen=True):
    quota_cache_ttl_seconds: Annotated[int, Meta(ge=0), LIVE] = 60  # how long a node keeps quota that it does not spend
    aggregation_interval_seconds: Annotated[int, Meta(ge=1), LIVE] = 300  # between two looks at credits and invoices
    unsigned_events: bool = True  # whether an event counts without its agent's signature, if the gate lets it in
    invoices: bool = True  # whether invoices are drafted and finalised by themselves
    invoice_grace_seconds: Annotated[int, Meta(ge=0)] = 86_400  # for late events, before an invoice becomes final
    invoice_series: str = "INV"
    # A table of one's own in the form of the one that comes with the package.
    llm_prices_file: str | None = None


class Collection(StrEnum):
    """How Stripe collects an invoice: it mails it, or it charges the payment method that the customer left there."""

    SEND_INVOICE = "send_invoice"
    CHARGE_AUTOMATICALLY = "charge_automatically"


@section("stripe")
class StripeConfig(msgspec.Struct, frozen=True):
    """Without a key nothing goes to Stripe; without the endpoint's secret nothing that comes from there is believed."""

    api_key: Secret | None = None
    webhook_secret: Secret | None = None
    url: str = "https://api.stripe.com"
    accounts: tuple[str, ...] = ()  # TENANT=ACCOUNT: tenants with Connect accounts of their own, and then only these
    invoices: bool = True  # whether final invoices are collected there
    meters: tuple[str, ...] = ()  # CHARGE=EVENT_NAME: whose quantities are reported to a meter there
    collection: Collection = Collection.SEND_INVOICE
    days_until_due: Annotated[int, Meta(ge=0, le=365)] = 30

    def validate(self) -> None:
        if not HTTPS.fullmatch(self.url):
            raise InvalidInput.of(
                "stripe.url",
                got=redacted_text(self.url),
                expected="https://…, or http:// on this machine",
                code="PL-921",
            )
        for name, pairs in (("stripe.accounts", self.accounts), ("stripe.meters", self.meters)):
            left = [pair.partition("=")[0] for pair in pairs]
            if not all(key and pair.partition("=")[2] for key, pair in zip(left, pairs, strict=True)):
                raise InvalidInput.of(name, got=", ".join(pairs), expected="NAME=VALUE", code="PL-921")
            if len(set(left)) != len(left):
                raise InvalidInput.of(name, got=", ".join(pairs), expected="each name once", code="PL-921")


class MailSecurity(StrEnum):
    """How the line to the mail relay is protected; plain only to a relay on this machine."""

    STARTTLS = "starttls"
    TLS = "tls"
    UNSAFE_PLAIN = "unsafe-plain"


@section("oversight")
class OversightConfig(msgspec.Struct, frozen=True):
    default_timeout_seconds: Annotated[int, Meta(ge=1, le=OVERSIGHT_TIMEOUT_S_MAX), LIVE] = (
        3600  # of a tier that says nothing
    )
    link_base: str = ""  # where approvers find the layer, as https://creto.example; empty for the REST address
    slack_webhook_url: Secret | None = None  # cards without buttons; the app below takes its place
    slack_bot_token: Secret | None = None
    slack_signing_secret: Secret | None = None
    slack_team_id: str = ""
    slack_app_id: str = ""
    email_smtp_host: str | None = None
    email_smtp_port: Port = 0  # 0 is the one of the kind of security
    email_security: MailSecurity = MailSecurity.STARTTLS
    email_from: str = "creto <creto@localhost>"
    email_username: str | None = None
    email_password: Secret | None = None

    def validate(self) -> None:
        if self.link_base:
            checked_scheme("oversight.link_base", self.link_base, "http", "https")
        app = (self.slack_bot_token, self.slack_signing_secret, self.slack_team_id or None, self.slack_app_id or None)
        if any(app) and None in app:
            raise InvalidInput.of(
                "oversight.slack_bot_token", got="a part of an app",
                expected="slack_bot_token, slack_signing_secret, slack_team_id and slack_app_id together", code="PL-921",
            )  # fmt: skip
        if "@" not in self.email_from:
            raise InvalidInput.of(
                "oversight.email_from", got=self.email_from, expected="the sender of the mails, as creto <approvals@corp.example>",
                code="PL-921",
            )  # fmt: skip
        if self.email_password is not None and self.email_security is MailSecurity.UNSAFE_PLAIN:
            raise InvalidInput.of(
                "oversight.email_security",
                got="unsafe-plain with a password",
                expected="starttls or tls",
                code="PL-921",
            )


@section("webhooks")
class WebhooksConfig(msgspec.Struct, frozen=True):
    """Webhooks go to public addresses over https; to networks of the installation's own only if they are named here."""

    allowed_networks: tuple[str, ...] = ()

    def validate(self) -> None:
        from ipaddress import ip_network

        for text in self.allowed_networks:
            try:
                ip_network(text)
            except ValueError as error:
                raise InvalidInput.of(
                    "webhooks.allowed_networks", got=text, expected="a network, as 10.20.0.0/16", code="PL-921"
                ) from error


@section("runtime")
class RuntimeConfig(msgspec.Struct, frozen=True):
    default_backend: str = "gvisor"
    warm_pool_min_size: Annotated[int, Meta(ge=0), LIVE] = 10
    warm_pool_max_size: Annotated[int, Meta(ge=0), LIVE] = 100

    def validate(self) -> None:
        if self.warm_pool_min_size > self.warm_pool_max_size:
            raise InvalidInput.of(
                "runtime.warm_pool_min_size",
                got=self.warm_pool_min_size,
                expected=f"at most warm_pool_max_size ({self.warm_pool_max_size})",
                code="PL-921",
            )


@section("messaging")
class MessagingConfig(msgspec.Struct, frozen=True):
    delivery_timeout_seconds: Annotated[int, Meta(ge=1), LIVE] = 30
    max_message_size_bytes: Annotated[int, Meta(ge=1, le=BUS_PAYLOAD_BYTES_MAX), LIVE] = BUS_PAYLOAD_BYTES_MAX


def checked_scheme(key: str, url: str, *schemes: str) -> None:
    if url.partition("://")[0] not in schemes or "://" not in url:
        expected = " or ".join(f"{scheme}://…" for scheme in schemes)
        raise InvalidInput.of(key, got=redacted_text(url), expected=expected, code="PL-921")
