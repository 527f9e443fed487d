//! TLS towards a target: whose certificates count, and a session over a connected stream.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use slotway_net::Stream;

use crate::limits::TLS_READ_BYTES;

/// Whose certificates count.
#[derive(Clone, Debug, Default)]
pub enum TlsRoots {
    /// Those that the system trusts.
    #[default]
    System,
    /// These alone.
    Given(Vec<CertificateDer<'static>>),
    /// Everybody's: for a test system with a certificate of its own.
    Anybody,
}

/// What a connection to a target needs to speak TLS. Connections share it, so that a later one can
/// resume the session of an earlier one, as clients do.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl TlsRoots {
    /// Certificates of a PEM file.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        let read =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(certificates) if certificates.is_empty() => Err("it has no certificate".to_owned()),
            Ok(certificates) => Ok(Self::Given(certificates)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn store(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(found.certs);
                if store.is_empty() {
                    let why = found
                        .errors
                        .first()
                        .map_or(String::new(), |error| format!(" ({error})"));
                    return Err(format!(
                        "the system has no certificates to trust{why}; say --cacert FILE or --insecure"
                    ));
                }
            }
            Self::Given(certificates) => {
                for certificate in certificates {
                    store
                        .add(certificate.clone())
                        .map_err(|error| format!("--cacert: {error}"))?;
                }
            }
            Self::Anybody => {}
        }
        Ok(store)
    }
}

impl TlsClient {
    /// For a server of this name, or address.
    pub fn new(host: &str, roots: &TlsRoots) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = match roots {
            TlsRoots::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnybody(provider)))
                .with_no_client_auth(),
            roots => builder
                .with_root_certificates(roots.store()?)
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let server_name = ServerName::try_from(host.clone())
            .map_err(|_| format!("{host}: TLS needs a host name or an address"))?;
        Ok(Self {
            config: Arc::new(config),
            server_name,
        })
    }

    /// Agrees with the server over a connected stream.
    pub async fn handshake(&self, stream: &Stream) -> io::Result<TlsSession> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.server_name.clone())
            .map_err(io::Error::other)?;
        let mut session = TlsSession {
            connection,
            outgoing: Vec::new(),
            incoming: Vec::new(),
        };
        session.connection.set_buffer_limit(None);
        while session.connection.is_handshaking() {
            session.flush(stream).await?;
            if session.connection.is_handshaking() && session.receive(stream).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        session.flush(stream).await?;
        Ok(session)
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// TLS on one connection.
pub struct TlsSession {
    connection: ClientConnection,
    /// Encrypted bytes on their way; kept for their memory.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl TlsSession {
    /// Sends all of it.
    pub async fn write_all(&mut self, stream: &Stream, bytes: &[u8]) -> io::Result<()> {
        self.connection.writer().write_all(bytes)?;
        self.flush(stream).await
    }

    /// Adds what comes next to `buffer`; 0 is the end, which the server has announced.
    pub async fn read(&mut self, stream: &Stream, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let mut reader = self.connection.reader();
            match reader.fill_buf() {
                Ok(piece) => {
                    let count = piece.len();
                    buffer.extend_from_slice(piece);
                    reader.consume(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.receive(stream).await?;
            self.flush(stream).await?;
        }
    }

    async fn flush(&mut self, stream: &Stream) -> io::Result<()> {
        while self.connection.wants_write() {
            let mut outgoing = std::mem::take(&mut self.outgoing);
            outgoing.clear();
            self.connection.write_tls(&mut outgoing)?;
            let (sent, outgoing) = stream.write_all_now(outgoing).await;
            self.outgoing = outgoing;
            sent?;
        }
        Ok(())
    }

    async fn receive(&mut self, stream: &Stream) -> io::Result<usize> {
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.clear();
        incoming.reserve(TLS_READ_BYTES);
        let (received, incoming) = stream.read(incoming).await;
        self.incoming = incoming;
        let count = received?;
        let mut left = &self.incoming[..];
        loop {
            self.connection.read_tls(&mut left)?;
            if let Err(error) = self.connection.process_new_packets() {
                // The server is told why, as far as it still listens.
                let _ = self.flush(stream).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if left.is_empty() {
                return Ok(count);
            }
        }
    }
}

/// Takes any certificate, but checks that its owner signed.
#[derive(Debug)]
struct AcceptAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
