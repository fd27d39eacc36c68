//! A server that pods reach over HTTPS, on the node.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;
use weir_e2e::lab::kubernetes::NODE_IP;

/// Serves on the node: where, whom to trust for that, and what ends it.
pub async fn serve(app: Router) -> (String, String, AbortHandle) {
    let own = rcgen::generate_simple_self_signed([NODE_IP.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let tcp = TcpListener::bind((NODE_IP, 0)).await.unwrap();
    let url = format!("https://{}", tcp.local_addr().unwrap());
    let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    (url, own.cert.pem(), serving.abort_handle())
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.tcp.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
