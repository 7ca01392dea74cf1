//! Certificates: for whom they are, what is wrong with them, and what is accepted all the same.

use std::sync::Arc;

use posthaste_connection::session::Stage;
use posthaste_connection::{
    CertificateFault, Connector, DialSettings, ErrorKind, Proof, Roots, Security, Server,
    TlsClient, TlsSettings, Verification,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::floods::serving;
use crate::support::{listen, name};
use crate::tls::{Authority, connector, params, require, run};

use CertificateFault::{
    Expired, NotYetValid, Revoked, SelfSigned, UnknownIssuer, Unusable, WrongName, WrongPurpose,
};
use Proof::{Unknown, Unverified, Verified};

/// What a certificate proves, or why it is not accepted, by STARTTLS and with TLS from the first
/// octet.
async fn proof(settings: &TlsSettings, acceptor: &TlsAcceptor) -> Result<Proof, CertificateFault> {
    let client = TlsClient::new(settings).unwrap();
    let [starttls, implicit] = [
        proof_to(client.clone(), Security::StartTls, acceptor).await,
        proof_to(client, Security::Implicit, acceptor).await,
    ];
    assert_eq!(starttls, implicit);
    starttls
}

async fn proof_to(
    client: TlsClient,
    security: Security,
    acceptor: &TlsAcceptor,
) -> Result<Proof, CertificateFault> {
    let (listener, port) = listen().await;
    let server = match security {
        Security::StartTls => Server::smtp("127.0.0.1", port),
        Security::Implicit => Server::smtps("127.0.0.1", port),
    };
    let connector =
        Connector::new(server, require(), Some(name()), DialSettings::default(), client).unwrap();
    match run(&listener, &connector, acceptor).await {
        Ok((info, _)) => {
            assert_eq!(info.is_verified(), info.proof == Verified);
            Ok(info.proof)
        }
        Err((error, _)) => {
            assert_eq!(error.stage(), Stage::Tls);
            assert_eq!(error.kind(), ErrorKind::Certificate, "{error:?}");
            assert_eq!(error.peer().unwrap().port(), port);
            Err(error.certificate_fault().unwrap())
        }
    }
}

#[track_caller]
fn dns_names(names: &[&str]) -> CertificateParams {
    let mut params = params(&[]);
    let names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = names.collect();
    params
}

/// TLS-18, ST-15, ST-13: whether a certificate with these DNS names is good for a host.
#[tokio::test]
async fn names_are_matched_label_by_label() {
    let authority = Authority::new();
    for (presented, reference, is_good) in [
        ("mx.example", "mx.example", true),
        ("MX.Example", "mx.example", true),
        ("mx.example", "mx.example.", true),
        ("mx.example", "example", false),
        ("mx.example", "a.mx.example", false),
        ("mx.example", "mx.example.org", false),
        ("*.mx.example", "a.mx.example", true),
        ("*.mx.example", "mx.example", false),
        ("*.mx.example", "a.b.mx.example", false),
        ("*.*.mx.example", "a.b.mx.example", false),
        ("f*.mx.example", "foo.mx.example", false),
        ("*oo.mx.example", "foo.mx.example", false),
        ("a.*.example", "a.mx.example", false),
        ("*", "example", false),
        ("mx.example\0.evil.example", "mx.example", false),
        ("127.0.0.1", "127.0.0.1", false),
        ("*.0.0.1", "127.0.0.1", false),
        ("xn--bcher-kva.example", "bücher.example", true),
        ("xn--bcher-kva.example", "bucher.example", false),
    ] {
        let server_name = Some(reference.to_owned());
        let settings = TlsSettings { server_name, ..authority.settings() };
        let acceptor = authority.acceptor_with(dns_names(&[presented]));
        let result = proof(&settings, &acceptor).await;
        if is_good {
            assert_eq!(result, Ok(Verified), "{presented:?} for {reference}");
        } else {
            // Some names are not even such.
            let is_refused = matches!(result, Err(WrongName | CertificateFault::Other));
            assert!(is_refused, "{presented:?} for {reference}: {result:?}");
        }
    }
}

/// TLS-18: an address is looked for among the addresses.
#[tokio::test]
async fn addresses_are_matched_with_addresses() {
    let authority = Authority::new();
    for (presented, expected) in [
        (&["127.0.0.1"][..], Ok(Verified)),
        (&["mx.example", "127.0.0.1"], Ok(Verified)),
        (&["127.0.0.2"], Err(WrongName)),
        (&["::ffff:127.0.0.1"], Err(WrongName)),
        (&["mx.example"], Err(WrongName)),
        (&[], Err(WrongName)),
    ] {
        let acceptor = authority.acceptor(presented);
        assert_eq!(proof(&authority.settings(), &acceptor).await, expected, "{presented:?}");
    }
}

/// ST-15, TLS-18: the common name does not count.
#[tokio::test]
async fn a_common_name_is_no_name() {
    let authority = Authority::new();
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, "mx.example");
    let settings = TlsSettings { server_name: Some("mx.example".into()), ..authority.settings() };
    let acceptor = authority.acceptor_with(params);
    assert_eq!(proof(&settings, &acceptor).await, Err(WrongName));
}

/// ST-14, TLS-20: certificates with a flaw, all of them for the right name from the right
/// authority.
fn flawed() -> [(CertificateParams, CertificateFault); 3] {
    let mut expired = params(&["127.0.0.1"]);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut future = params(&["127.0.0.1"]);
    future.not_before = date_time_ymd(4000, 1, 1);
    let mut usage = params(&["127.0.0.1"]);
    usage.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    [(expired, Expired), (future, NotYetValid), (usage, WrongPurpose)]
}

/// A certificate for 127.0.0.1 that a server made for itself.
fn self_signed() -> (TlsAcceptor, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = params(&["127.0.0.1"]).self_signed(&key).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        );
    (TlsAcceptor::from(Arc::new(config.unwrap())), certificate)
}

/// ST-14, TLS-20: the reasons are told apart.
#[tokio::test]
async fn flawed_certificates_are_refused_and_told_apart() {
    let authority = Authority::new();
    for (params, fault) in flawed() {
        let acceptor = authority.acceptor_with(params);
        assert_eq!(proof(&authority.settings(), &acceptor).await, Err(fault));
    }
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    assert_eq!(proof(&TlsSettings::default(), &acceptor).await, Err(UnknownIssuer));
    assert_eq!(proof(&Authority::new().settings(), &acceptor).await, Err(UnknownIssuer));
    let (acceptor, certificate) = self_signed();
    assert_eq!(proof(&authority.settings(), &acceptor).await, Err(SelfSigned));
    // Who trusts it by name gets a connection, and needs no authority beside it.
    let settings = TlsSettings {
        roots: Roots::Extra,
        extra_roots: vec![certificate],
        ..TlsSettings::default()
    };
    assert_eq!(proof(&settings, &acceptor).await, Ok(Verified));
}

/// TLS-20: the certificate that openssl makes by default says that it is an authority's own, which
/// no server may show, trusted or not.
#[tokio::test]
async fn an_authority_that_is_its_own_server_is_self_signed() {
    let mut params = params(&["127.0.0.1"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let acceptor = TlsAcceptor::from(Arc::new(serving(vec![certificate.clone()], &key)));
    let trusting = TlsSettings { extra_roots: vec![certificate], ..TlsSettings::default() };
    for settings in [TlsSettings::default(), trusting] {
        assert_eq!(proof(&settings, &acceptor).await, Err(SelfSigned));
        let optional = TlsSettings { verification: Verification::Optional, ..settings };
        assert_eq!(proof(&optional, &acceptor).await, Ok(Unverified(SelfSigned)));
    }
    // One that another authority made is none of that.
    let authority = Authority::new();
    let (certificate, key) = authority.issue(params);
    let acceptor = TlsAcceptor::from(Arc::new(serving(vec![certificate], &key)));
    assert_eq!(proof(&authority.settings(), &acceptor).await, Err(CertificateFault::Other));
}

/// TLS-20, TLS-27: no handshake can be finished with some certificates, whatever is accepted, and
/// that is told.
#[tokio::test]
async fn unusable_certificates_are_told_apart() {
    let authority = Authority::new();
    let (good, key) = authority.issue(params(&["127.0.0.1"]));
    let mut version_1 = good.to_vec();
    let version = version_1.windows(5).position(|it| it == b"\xa0\x03\x02\x01\x02").unwrap();
    version_1[version + 4] = 0;
    let garbage = b"no certificate".to_vec();
    for certificate in [version_1, garbage] {
        let acceptor = TlsAcceptor::from(Arc::new(serving(vec![certificate.into()], &key)));
        assert_eq!(proof(&authority.settings(), &acceptor).await, Err(Unusable));
        let verification = Verification::DangerousAnyCertificate;
        let lax = TlsSettings { verification, ..authority.settings() };
        assert_eq!(proof(&lax, &acceptor).await, Err(Unusable));
    }
    // Signed by a key that is not the certificate's, as one that is too weak is found out.
    let config = serving(vec![good], &KeyPair::generate().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    assert_eq!(proof(&authority.settings(), &acceptor).await, Err(Unusable));
}

/// Whether the name is all that the platform's verifier objects to cannot be told.
#[cfg(feature = "platform-verifier")]
#[test]
fn the_platform_knows_no_certificate_for_any_name() {
    let verification = Verification::DangerousAnyName;
    let settings = TlsSettings { roots: Roots::Platform, verification, ..TlsSettings::default() };
    let refused = TlsClient::new(&settings);
    assert!(matches!(refused, Err(posthaste_connection::TlsSetupError::PlatformAnyName)));
}

/// ST-14, TLS-20: a certificate that its authority took back.
#[tokio::test]
async fn revoked_certificates_are_refused() {
    let authority = Authority::new();
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(4000, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(7),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&authority.0).unwrap().der().clone();
    let settings = TlsSettings { revocation_lists: vec![list], ..authority.settings() };
    for (serial, expected) in [(7, Err(Revoked)), (8, Ok(Verified))] {
        let mut params = params(&["127.0.0.1"]);
        params.serial_number = Some(SerialNumber::from(serial));
        let acceptor = authority.acceptor_with(params);
        assert_eq!(proof(&settings, &acceptor).await, expected);
    }
    // An authority without a list is not mistrusted for that.
    let other = Authority::new();
    let extra_roots = other.settings().extra_roots;
    let settings = TlsSettings { extra_roots, ..settings };
    assert_eq!(proof(&settings, &other.acceptor(&["127.0.0.1"])).await, Ok(Verified));
    let nonsense = TlsSettings {
        revocation_lists: vec![b"nonsense".to_vec().into()],
        ..TlsSettings::default()
    };
    assert!(TlsClient::new(&nonsense).is_err());
}

/// TLS-27, Q55: whoever asks for no proof gets a connection, and is told that there was none, and
/// why.
#[tokio::test]
async fn optional_verification_flags_what_it_accepts() {
    let authority = Authority::new();
    let optional = TlsSettings { verification: Verification::Optional, ..authority.settings() };
    for (params, fault) in flawed() {
        let acceptor = authority.acceptor_with(params);
        assert_eq!(proof(&optional, &acceptor).await, Ok(Unverified(fault)));
    }
    let cases = [
        (authority.acceptor(&["mx.example"]), Unverified(WrongName)),
        (authority.acceptor(&["127.0.0.1"]), Verified),
        (Authority::new().acceptor(&["127.0.0.1"]), Unverified(UnknownIssuer)),
        (self_signed().0, Unverified(SelfSigned)),
    ];
    for (acceptor, expected) in cases {
        assert_eq!(proof(&optional, &acceptor).await, Ok(expected));
    }
}

/// TLS-21: each of the two dangerous ways accepts what it says, says so, and refuses the rest.
#[tokio::test]
async fn what_is_dangerous_is_so_one_by_one() {
    let authority = Authority::new();
    let any_name =
        TlsSettings { verification: Verification::DangerousAnyName, ..authority.settings() };
    let any_certificate =
        TlsSettings { verification: Verification::DangerousAnyCertificate, ..authority.settings() };

    let wrong_name = authority.acceptor(&["mx.example"]);
    assert_eq!(proof(&authority.settings(), &wrong_name).await, Err(WrongName));
    assert_eq!(proof(&any_name, &wrong_name).await, Ok(Unverified(WrongName)));
    assert_eq!(proof(&any_certificate, &wrong_name).await, Err(WrongName));

    let strange = Authority::new().acceptor(&["127.0.0.1"]);
    assert_eq!(proof(&authority.settings(), &strange).await, Err(UnknownIssuer));
    assert_eq!(proof(&any_name, &strange).await, Err(UnknownIssuer));
    assert_eq!(proof(&any_certificate, &strange).await, Ok(Unverified(UnknownIssuer)));

    for (params, fault) in flawed() {
        let acceptor = authority.acceptor_with(params);
        assert_eq!(proof(&any_name, &acceptor).await, Err(fault));
        assert_eq!(proof(&any_certificate, &acceptor).await, Ok(Unverified(fault)));
    }

    // Both wrong at once are neither's.
    let both = Authority::new().acceptor(&["mx.example"]);
    assert_eq!(proof(&any_name, &both).await, Err(UnknownIssuer));
    assert_eq!(proof(&any_certificate, &both).await, Err(UnknownIssuer));

    let good = authority.acceptor(&["127.0.0.1"]);
    assert_eq!(proof(&any_name, &good).await, Ok(Verified));
    assert_eq!(proof(&any_certificate, &good).await, Ok(Verified));
}

/// TLS-26: what a configuration of the caller's accepts is not known to be valid, unless the caller
/// says so.
#[tokio::test]
async fn a_configuration_of_the_callers_proves_what_the_caller_says() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"]);
    let config = authority.client().config().clone();
    let client = TlsClient::with_config(config);
    assert_eq!(proof_to(client.clone(), Security::Implicit, &acceptor).await, Ok(Unknown));
    assert_eq!(proof_to(client.vouched(), Security::Implicit, &acceptor).await, Ok(Verified));
}

/// ST-12, TLS-22: what one client accepted, no other resumes. The server would, and does so for the
/// first one.
#[tokio::test]
async fn clients_share_no_sessions() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let acceptor = stranger.acceptor(&["127.0.0.1"]);
    let lax = TlsSettings { verification: Verification::Optional, ..authority.settings() };
    let (listener, port) = listen().await;
    let lax = connector(port, Security::Implicit, &lax, require());
    let strict = connector(port, Security::Implicit, &authority.settings(), require());
    for is_resumed in [false, true] {
        let (info, _) = run(&listener, &lax, &acceptor).await.unwrap();
        assert_eq!((info.is_resumed, info.proof), (is_resumed, Unverified(UnknownIssuer)));
    }
    let (error, _) = run(&listener, &strict, &acceptor).await.err().unwrap();
    assert_eq!(error.certificate_fault(), Some(UnknownIssuer));
}

/// TLS-18, TLS-20, TLS-21 with the operating system's verifier: extra authorities count, and nobody
/// else's.
#[cfg(feature = "platform-verifier")]
#[tokio::test]
async fn the_platforms_verifier_is_as_strict() {
    let authority = Authority::new();
    let settings = TlsSettings { roots: Roots::Platform, ..authority.settings() };
    assert_eq!(proof(&settings, &authority.acceptor(&["127.0.0.1"])).await, Ok(Verified));
    let wrong_name = authority.acceptor(&["mx.example"]);
    assert_eq!(proof(&settings, &wrong_name).await, Err(WrongName));
    let stranger = Authority::new().acceptor(&["127.0.0.1"]);
    assert_eq!(proof(&settings, &stranger).await, Err(UnknownIssuer));
}
