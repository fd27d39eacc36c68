//! Exporters of brokers' metrics, over HTTP or HTTPS. Where a host has several addresses, as a headless Service has one for each
//! broker, each is asked. Redirects are not followed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::domain::watch::Told;
use crate::domain::watch::traffic::{Rates, rates};
use crate::tls::{Versions, client_config};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are asked at once.
const AT_ONCE: usize = 8;
/// How many addresses of a name are asked.
const ADDRESSES: usize = 500;
/// The most bytes that one may say.
const LONGEST: usize = 32 * 1024 * 1024;

/// Asks all `urls` how much principals fetch and produce. HTTPS trusts the authorities in `ca_pem`, or the system's. Returns beside it
/// why it is not all, where it is not.
pub async fn ask(urls: &[String], ca_pem: Option<&str>) -> (Told, Vec<String>) {
    let (mut places, mut faults) = (Vec::new(), Vec::new());
    for url in urls {
        match find(url).await {
            Ok(found) => places.extend(found),
            Err(why) => faults.push(format!("{url}: {why}")),
        }
    }
    let is_secure = places.iter().any(|place| place.uri.scheme_str() == Some("https"));
    let tls = match client_config(ca_pem, None, Versions::SinceTls12) {
        Ok(config) => Some(Arc::new(config)),
        Err(error) => {
            faults.extend(is_secure.then(|| error.to_string()));
            None
        }
    };
    let asked = places.into_iter().map(|place| place.ask(tls.clone()));
    let mut asked = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut all = Rates::new();
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(told) => told.into_iter().for_each(|(user, traffic)| *all.entry(user).or_default() += traffic),
            Err(why) => faults.push(why),
        }
    }
    faults.sort();
    (Told { rates: all, is_whole: faults.is_empty() }, faults)
}

/// An exporter.
struct Place {
    uri: Uri,
    host: String,
    address: SocketAddr,
}

/// All of a URL. Where there are addresses of both families, those of IPv4: a broker has one of each.
async fn find(url: &str) -> Result<Vec<Place>, String> {
    let uri: Uri = url.parse().map_err(|e| format!("not a URL: {e}"))?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let found = timeout(PATIENCE, lookup_host((host.as_str(), port))).await;
    let found: BTreeSet<_> = found
        .map_err(|_| "its name was not resolved in time".to_owned())?
        .map_err(|e| format!("its name cannot be resolved: {e}"))?
        .collect();
    let is_v4 = found.iter().any(SocketAddr::is_ipv4);
    let of_family = found.into_iter().filter(|address| address.is_ipv4() == is_v4).take(ADDRESSES);
    Ok(of_family.map(|address| Place { uri: uri.clone(), host: host.clone(), address }).collect())
}

impl Place {
    async fn ask(self, tls: Option<Arc<ClientConfig>>) -> Result<Rates, String> {
        let said = timeout(PATIENCE, self.get(tls)).await;
        let said = said.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let none =
            || "it tells nothing of kafka_server_fetch_* and kafka_server_produce_*: what quotas count".to_owned();
        said.and_then(|text| rates(&text).ok_or_else(none))
            .map_err(|why| format!("{} at {}: {why}", self.uri, self.address))
    }

    async fn get(&self, tls: Option<Arc<ClientConfig>>) -> Result<String, String> {
        let tcp = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        if self.uri.scheme_str() != Some("https") {
            return self.get_by(tcp).await;
        }
        let tls = tls.ok_or("no authority to trust")?;
        let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
        self.get_by(TlsConnector::from(tls).connect(name, tcp).await.map_err(|e| e.to_string())?).await
    }

    async fn get_by(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<String, String> {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let authority = self.uri.authority().map_or(self.host.as_str(), |a| a.as_str());
        let path = self.uri.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "text/plain;version=0.0.4")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            if response.status() != StatusCode::OK {
                return Err(format!("it answered {}", response.status()));
            }
            let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|e| e.to_string())?;
            String::from_utf8(body.to_bytes().into()).map_err(|_| "what it says is no text".to_owned())
        };
        tokio::pin!(connection);
        tokio::pin!(exchange);
        // Whatever ends the connection ends the exchange, too.
        tokio::select! {
            said = &mut exchange => said,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::ask;

    /// Says this to whoever asks; its URL.
    async fn exporter(says: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics?name=a", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1024];
                let read = stream.read(&mut asked).await.unwrap();
                assert!(asked[..read].starts_with(b"GET /metrics?name=a HTTP/1.1\r\n"));
                let _ = stream.write_all(says.as_bytes()).await;
            }
        });
        url
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn what_all_brokers_tell_is_summed_up() {
        let says = |rate: f64| answer("200 OK", &format!("kafka_server_Fetch_byte_rate{{user=\"app\"}} {rate}\n"));
        let urls = [exporter(says(1.5)).await, exporter(says(2.0)).await];
        let (told, faults) = ask(&urls, None).await;
        assert_eq!((told.rates["app"].fetched, told.is_whole, faults), (3.5, true, Vec::new()));
    }

    #[tokio::test]
    async fn who_does_not_tell_is_named() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let urls = [
            exporter(answer("200 OK", "kafka_server_Fetch_byte_rate{user=\"app\"} 1\n")).await,
            exporter(answer("302 Found", "")).await,
            exporter(answer("200 OK", "up 1\n")).await,
            exporter("not HTTP\r\n\r\n".into()).await,
            exporter("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nkafka_server".into()).await,
            format!("http://{closed}/metrics"),
            "http://[half/metrics".into(),
        ];
        let (told, faults) = ask(&urls, None).await;
        assert_eq!((told.rates["app"].fetched, told.is_whole), (1.0, false));
        assert_eq!(faults.len(), 6, "{faults:#?}");
        for words in ["it answered 302 Found", "it tells nothing of kafka_server_fetch_*", "not a URL"] {
            assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:#?}");
        }
        assert!(urls[1..].iter().all(|url| faults.iter().any(|fault| fault.starts_with(url))), "{faults:#?}");
    }
}
