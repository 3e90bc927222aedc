//! Against an untouched connection of the library: its records and ours are the same.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_util::Conn;

use super::*;

/// The library's end of a wire.
struct Plain {
    to: UnboundedSender<Vec<u8>>,
    from: tokio::sync::Mutex<UnboundedReceiver<Vec<u8>>>,
}

#[async_trait]
impl Conn for Plain {
    async fn recv(&self, buf: &mut [u8]) -> webrtc_util::Result<usize> {
        let Some(datagram) = self.from.lock().await.recv().await else { return core::future::pending().await };
        buf[..datagram.len()].copy_from_slice(&datagram);
        Ok(datagram.len())
    }

    async fn send(&self, datagram: &[u8]) -> webrtc_util::Result<usize> {
        let _ = self.to.send(datagram.to_vec());
        Ok(datagram.len())
    }

    async fn recv_from(&self, _: &mut [u8]) -> webrtc_util::Result<(usize, core::net::SocketAddr)> {
        unreachable!()
    }

    async fn send_to(&self, _: &[u8], _: core::net::SocketAddr) -> webrtc_util::Result<usize> {
        unreachable!()
    }

    async fn connect(&self, _: core::net::SocketAddr) -> webrtc_util::Result<()> {
        unreachable!()
    }

    fn local_addr(&self) -> webrtc_util::Result<core::net::SocketAddr> {
        unreachable!()
    }

    fn remote_addr(&self) -> Option<core::net::SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn core::any::Any + Send + Sync) {
        self
    }
}

/// A pre-shared key of one end.
fn config(identity: Option<&str>) -> Config {
    Config {
        psk: Some(Arc::new(|_: &[u8]| Box::pin(core::future::ready(Ok(b"the key of the client".to_vec()))))),
        psk_identity_hint: identity.map(|identity| identity.as_bytes().to_vec()),
        cipher_suites: vec![CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8],
        extended_master_secret: ExtendedMasterSecretType::Require,
        ..Config::default()
    }
}

/// Runs a connection of the library against one of our engines, and sends messages of many lengths each way.
async fn talk(mut end: End, config: Config, is_client: bool) {
    let (to, mut from_library) = unbounded_channel();
    let (to_library, from) = unbounded_channel();
    let plain = Arc::new(Plain { to, from: tokio::sync::Mutex::new(from) });
    let library = tokio::spawn(async move {
        let connection = DTLSConn::new(plain, config, is_client, None).await.unwrap();
        let mut got = Vec::new();
        let mut buf = vec![0; 2000];
        while got.len() < 40 {
            let length = connection.read(&mut buf, None).await.unwrap();
            got.push(buf[..length].to_vec());
            connection.write(&vec![7; got.len() * 17], None).await.unwrap();
        }
        connection.close().await.unwrap();
        got
    });
    let mut sent = 0;
    let start = time::Instant::now();
    while end.ended.is_none() && start.elapsed() < secs(20) {
        while let Ok(datagram) = from_library.try_recv() {
            end.engine.handle(NOW, &datagram);
        }
        for datagram in end.poll(start.elapsed()) {
            // It may have gone: it says close_notify first.
            let _ = to_library.send(datagram);
        }
        if end.is_open() && sent < 40 && sent == end.got.len() {
            sent += 1;
            end.engine.send(NOW, &vec![9; sent * 23]).unwrap();
        }
        sleep(Duration::from_millis(1)).await;
    }
    let got = library.await.unwrap();
    assert!(got.iter().enumerate().all(|(number, message)| *message == vec![9; (number + 1) * 23]));
    assert_eq!(end.got.len(), 40);
    assert!(end.got.iter().enumerate().all(|(number, message)| *message == vec![7; (number + 1) * 17]));
    assert_eq!(end.ended, Some(SessionEnd::Peer), "its close_notify is authenticated, and believed");
}

#[tokio::test(start_paused = true)]
async fn our_client_talks_to_the_librarys_server() {
    let client = psk_client("client", "the key of the client").build().unwrap();
    for hint in [None, Some("hint")] {
        talk(End::connect(&client, None), config(hint), false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn our_server_talks_to_the_librarys_client() {
    for hint in [None, Some("hint")] {
        let mut server = psk_server();
        if let Some(hint) = hint {
            server = server.psk_hint(hint);
        }
        talk(End::accept(&server.build().unwrap()), config(Some("client")), true).await;
    }
}

/// Certificates of both ends, and one suite for them.
fn certified(suite: CipherSuiteId, own: &CertifiedKey) -> Config {
    Config {
        certificates: vec![super::super::certificate(own).unwrap()],
        cipher_suites: vec![suite],
        insecure_skip_verify: true,
        client_auth: ClientAuthType::RequireAnyClientCert,
        server_name: "server.example".to_owned(),
        extended_master_secret: ExtendedMasterSecretType::Require,
        ..Config::default()
    }
}

#[tokio::test(start_paused = true)]
async fn records_of_either_suite_for_certificates_are_the_librarys() {
    let certificates = Certificates::new();
    let (client, server) = (certificates.client().build().unwrap(), certificates.server(ClientAuth::Required));
    let server = server.build().unwrap();
    for suite in
        [CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8, CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256]
    {
        talk(End::connect(&client, Some(&name())), certified(suite, &certificates.server), false).await;
        talk(End::accept(&server), certified(suite, &certificates.client), true).await;
    }
}
