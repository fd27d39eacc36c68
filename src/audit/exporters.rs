//! Exporters of brokers' metrics, over HTTP or HTTPS. Where a host has several addresses, as a headless Service has one for each
//! broker, each is asked. Redirects are not followed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::domain::watch::traffic::{Reading, Told};
use crate::tls::{Versions, client_config};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are asked at once.
const AT_ONCE: usize = 16;
/// The most bytes that one may say. They are read line by line.
const LONGEST: usize = 64 * 1024 * 1024;
/// The most bytes of a line.
const LONGEST_LINE: usize = 64 * 1024;

/// Asks all `urls` how much the principals that are `wanted` fetch and produce. HTTPS trusts the authorities in `ca_pem`, or the
/// system's. Each answer is one exporter's, or says why there is none.
pub async fn ask(urls: &[String], ca_pem: Option<&str>, wanted: BTreeSet<String>) -> Vec<Result<Told, String>> {
    let tls = if urls.iter().any(|url| url.starts_with("https://")) {
        match client_config(ca_pem, None, Versions::SinceTls12) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => return vec![Err(error.to_string())],
        }
    } else {
        None
    };
    let wanted = Arc::new(wanted);
    let finding =
        urls.iter().cloned().map(|url| async move { find(&url).await.map_err(|why| format!("{url}: {why}")) });
    let found: Vec<_> = futures::stream::iter(finding).buffer_unordered(AT_ONCE).collect().await;
    let asked = found.into_iter().flat_map(|found| match found {
        Ok(places) => places.into_iter().map(Ok).collect(),
        Err(why) => vec![Err(why)],
    });
    let answers = asked.map(|place| {
        let (tls, wanted) = (tls.clone(), wanted.clone());
        async move { place?.ask(tls, &wanted).await }
    });
    futures::stream::iter(answers).buffer_unordered(AT_ONCE).collect().await
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
    let of_family = found.into_iter().filter(|address| address.is_ipv4() == is_v4);
    Ok(of_family.map(|address| Place { uri: uri.clone(), host: host.clone(), address }).collect())
}

impl Place {
    async fn ask(self, tls: Option<Arc<ClientConfig>>, wanted: &BTreeSet<String>) -> Result<Told, String> {
        let said = timeout(PATIENCE, self.get(tls, wanted)).await;
        let said = said.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let told = said.and_then(|reading| reading.rates().map_err(str::to_owned));
        told.map_err(|why| format!("{} at {}: {why}", self.uri, self.address))
    }

    async fn get(&self, tls: Option<Arc<ClientConfig>>, wanted: &BTreeSet<String>) -> Result<Reading, String> {
        let tcp = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        match tls.filter(|_| self.uri.scheme_str() == Some("https")) {
            None => self.get_by(tcp, wanted).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
                let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|e| e.to_string())?;
                self.get_by(stream, wanted).await
            }
        }
    }

    async fn get_by<S>(&self, stream: S, wanted: &BTreeSet<String>) -> Result<Reading, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let authority = self.uri.authority().map_or(self.host.as_str(), |a| a.as_str());
        let request = Request::get(self.uri.path_and_query().map_or("/", |p| p.as_str()))
            .header(header::HOST, authority)
            .header(header::ACCEPT, "text/plain;version=0.0.4")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            match response.status() {
                StatusCode::OK => read(response.into_body(), wanted).await,
                other => Err(format!("it answered {other}")),
            }
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

/// Reads line by line what is said.
async fn read(mut body: Incoming, wanted: &BTreeSet<String>) -> Result<Reading, String> {
    let (mut reading, mut left, mut seen) = (Reading::default(), Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|e| e.to_string())?.into_data() else { continue };
        seen += data.len();
        let mut lines = data.split(|byte| *byte == b'\n');
        // The last one goes on in the next frame.
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            left.extend_from_slice(line);
            reading.line(&String::from_utf8_lossy(&left), wanted);
            left.clear();
        }
        left.extend_from_slice(last);
        if seen > LONGEST || left.len() > LONGEST_LINE {
            return Err(format!("it says more than {LONGEST} bytes, or more than {LONGEST_LINE} in a line"));
        }
    }
    reading.line(&String::from_utf8_lossy(&left), wanted);
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{LONGEST_LINE, Told, ask};

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

    async fn told(url: String) -> Result<Told, String> {
        ask(&[url], None, ["app".to_owned()].into()).await.remove(0)
    }

    #[tokio::test]
    async fn each_line_is_read_whatever_frames_it_comes_in() {
        let line = |n: usize| format!("kafka_server_Fetch_byte_rate{{user=\"app\",client_id=\"{n}\"}} 1.5\n");
        let says: String = (0..20_000).map(line).collect();
        let told = told(exporter(answer("200 OK", says.trim_end())).await).await.unwrap();
        assert_eq!(told.rates["app"].fetched, 30_000.0);
    }

    #[tokio::test]
    async fn who_does_not_tell_is_named() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for (url, words) in [
            (exporter(answer("302 Found", "")).await, "it answered 302 Found"),
            (exporter(answer("200 OK", "up 1\n")).await, "it tells nothing of kafka_server_fetch_*"),
            (exporter(answer("200 OK", &"x".repeat(2 * LONGEST_LINE))).await, "in a line"),
            (exporter("not HTTP\r\n\r\n".into()).await, ""),
            (exporter("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nkafka_server".into()).await, ""),
            (format!("http://{closed}/metrics"), "refused"),
            ("http://[half/metrics".into(), "not a URL"),
        ] {
            let fault = told(url.clone()).await.unwrap_err();
            assert!(fault.starts_with(&url) && fault.contains(words), "{words}: {fault}");
        }
    }
}
