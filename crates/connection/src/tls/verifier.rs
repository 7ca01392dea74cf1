//! Looks at certificates, and at some of them with one eye shut.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::EndEntityCert;

use super::Verification;
use super::info::{CertificateFault, Proof, SelfSigned, Unusable};

/// A verifier, and what is accepted although it objects. Forged signatures of the handshake never
/// are.
#[derive(Debug)]
pub(super) struct Verifier {
    strict: Arc<dyn ServerCertVerifier>,
    verification: Verification,
}

impl Verifier {
    pub(super) fn new(strict: Arc<dyn ServerCertVerifier>, verification: Verification) -> Self {
        Self { strict, verification }
    }

    pub(super) fn accepts_any(&self) -> bool {
        self.verification == Verification::Optional
    }

    /// What the certificate of a finished handshake proves.
    pub(super) fn proof(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Proof {
        if self.verification == Verification::Required {
            // Otherwise there would be no connection.
            return Proof::Verified;
        }
        let [end_entity, intermediates @ ..] = chain else {
            return Proof::Unverified(CertificateFault::Other);
        };
        match self.verify(end_entity, intermediates, name, &[], UnixTime::now()) {
            Ok(_) => Proof::Verified,
            Err(Error::InvalidCertificate(error)) => {
                Proof::Unverified(CertificateFault::of(&error))
            }
            Err(_) => Proof::Unverified(CertificateFault::Other),
        }
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result =
            self.strict.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        result.map_err(|error| match EndEntityCert::try_from(end_entity) {
            Err(_) => unusable(error),
            Ok(certificate) if is_of_no_authority(&error, &certificate) => other(SelfSigned),
            Ok(_) => error,
        })
    }

    /// Whether a certificate is accepted although the verifier objects to it.
    fn tolerates(&self, error: &Error, cert: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
        let is_named = || {
            ParsedCertificate::try_from(cert).is_ok_and(|c| verify_server_name(&c, name).is_ok())
        };
        match self.verification {
            Verification::Required => false,
            Verification::Optional => true,
            // The verifier looks at the name last.
            Verification::DangerousAnyName => matches!(
                error,
                Error::InvalidCertificate(
                    CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. }
                )
            ),
            Verification::DangerousAnyCertificate => is_named(),
        }
    }
}

/// Whether nobody vouches for a certificate but itself. What openssl makes by default is not even
/// looked at for that: it says that it is an authority's own, and those are not for servers.
fn is_of_no_authority(error: &Error, certificate: &EndEntityCert<'_>) -> bool {
    let is_authority = |error: &OtherError| {
        matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
    };
    let is_for_lack_of_an_issuer = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        Error::InvalidCertificate(CertificateError::Other(error)) => is_authority(error),
        _ => false,
    };
    is_for_lack_of_an_issuer && certificate.issuer() == certificate.subject()
}

/// The same objection, to a certificate that no handshake can be finished with.
fn unusable(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(error) => other(Unusable(error)),
        error => error,
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verify(end_entity, intermediates, name, ocsp_response, now) {
            Err(error) if self.tolerates(&error, end_entity, name) => {
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, cert, dss).map_err(unusable)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, cert, dss).map_err(unusable)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
