"""X.509: a small authority, requests, and certificates whose names are URIs.

    private_pem, request = new_request()                             # on the holder's machine
    certificate = authority.issue(request, uris=("spiffe://…",), not_before=…, not_after=…, serial=…)
    facts = authority.verify(certificate, now)                       # what it says, or PL-131

The authority signs with Ed25519; a holder's TLS key is ECDSA on P-256. gRPC's TLS library offers no Ed25519 in its handshake and none
has ML-DSA there yet, so these keys only protect a connection for hours; who the holder is rests on hybrid signatures.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from creto.common.errors import InvalidInput, Unauthorized
from creto.common.limits import CERTIFICATE_BYTES_MAX
from creto.common.timestamps import SECOND
from creto.platform.crypto.hashes import digest
from creto.platform.crypto.keys import SigningKey

PEM_MARK = b"-----BEGIN"
FROM = datetime(2020, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280 4.1.2.5: no well-defined expiration
SERIAL_BITS = 159  # RFC 5280 4.1.2.2: at most 20 octets, positive
USAGES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
READ_ERRORS = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class CertificateFacts(msgspec.Struct, frozen=True):
    """What a verified certificate says."""

    serial: int
    uris: tuple[str, ...]
    not_after: int  # nanoseconds


def new_request() -> tuple[bytes, bytes]:
    """A fresh TLS key as PEM, and the request for its certificate as DER. The key does not leave the caller."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, request.public_bytes(serialization.Encoding.DER)


class Authority:
    """Its certificate follows from its key alone, so every node that has the key has the same certificate."""

    def __init__(self, key: SigningKey, name: str) -> None:
        self._key = key.ed25519_private()
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._serial = int.from_bytes(digest(key.public.to_bytes())) >> (256 - SERIAL_BITS) | 1

    @cached_property
    def certificate_pem(self) -> bytes:
        """What peers are told to trust."""
        public = self._key.public_key()
        builder = (
            x509.CertificateBuilder(self._name, self._name, public, self._serial, FROM, FOREVER)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        return builder.sign(self._key, None).public_bytes(serialization.Encoding.PEM)

    def new_serial(self) -> int:
        return x509.random_serial_number()

    def issue(
        self, request_der: bytes, *, common_name: str, uris: Sequence[str], hosts: Sequence[str] = (), serial: int,
        not_before: int, not_after: int,
    ) -> bytes:  # fmt: skip
        """A certificate for both ends of a connection, as PEM. Of the request only the key is taken; times are nanoseconds."""
        public = requested_key(request_der)
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = (
            x509.CertificateBuilder(
                self._name,
                x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name[:64])]),
                public,
                serial,
                datetime.fromtimestamp(not_before // SECOND, UTC),
                datetime.fromtimestamp(not_after // SECOND, UTC),
            )
            .add_extension(x509.SubjectAlternativeName([*names, *map(host_name, hosts)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, None).public_bytes(serialization.Encoding.PEM)

    def verify(self, certificate: bytes, now: int) -> CertificateFacts:
        """PEM or DER. Raises PL-131 unless this authority signed it as a leaf and it is valid at `now`."""
        try:
            read = read_certificate(certificate)
            if read.issuer != self._name or not isinstance(read.public_key(), ec.EllipticCurvePublicKey):
                raise not_valid("another issuer or kind of key", "a certificate of this deployment")
            self._key.public_key().verify(read.signature, read.tbs_certificate_bytes)
            return facts_of(read, now)
        except InvalidSignature:
            raise not_valid("a signature that does not fit", "a certificate of this deployment") from None
        except READ_ERRORS as error:  # the library reads a field when it is first asked for
            raise not_valid("bytes that cannot be read", "an X.509 certificate") from error


def facts_of(read: x509.Certificate, now: int) -> CertificateFacts:
    """What a holder's certificate says, if it is valid at `now`."""
    if read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise not_valid("an authority's certificate", "a holder's")
    begins, ends = (int(t.timestamp()) * SECOND for t in (read.not_valid_before_utc, read.not_valid_after_utc))
    if not begins <= now < ends:
        raise not_valid(f"valid from {begins} to {ends}", f"valid at {now}")
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return CertificateFacts(read.serial_number, tuple(names.get_values_for_type(x509.UniformResourceIdentifier)), ends)


def requested_key(request_der: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a request that its owner signed with it."""
    expected = "a PKCS #10 request with a P-256 key, signed with it"
    if len(request_der) > CERTIFICATE_BYTES_MAX:
        raise InvalidInput.of("request", got=f"{len(request_der)} bytes", expected=f"at most {CERTIFICATE_BYTES_MAX}")
    try:
        request = x509.load_der_x509_csr(request_der)
        public = request.public_key()
        signed = request.is_signature_valid
    except READ_ERRORS as error:
        raise InvalidInput.of("request", got="bytes that cannot be read", expected=expected) from error
    if not signed or not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise InvalidInput.of("request", got="another key or signature", expected=expected)
    return public


def read_certificate(data: bytes) -> x509.Certificate:
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise not_valid(f"{len(data)} bytes", f"at most {CERTIFICATE_BYTES_MAX} bytes")
    load = x509.load_pem_x509_certificate if data.startswith(PEM_MARK) else x509.load_der_x509_certificate
    return load(data)


def host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise InvalidInput.of("hosts", got=host, expected="a DNS name or an IP address") from error


def key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def not_valid(got: str, expected: str) -> Unauthorized:
    return Unauthorized("PL-131", field="certificate", got=got, expected=expected)
