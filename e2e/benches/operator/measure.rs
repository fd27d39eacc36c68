//! What the API server, the operator and Kafka were asked to do.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

/// Counters at one moment.
pub struct Measure {
    /// Writes that the API server took, by verb and resource.
    writes: BTreeMap<String, f64>,
    /// Requests to Kafka by API.
    kafka: BTreeMap<String, f64>,
    /// CPU seconds of the operator.
    cpu: f64,
}

impl Measure {
    /// Reads all counters.
    ///
    /// # Errors
    /// The API server or the operator does not tell.
    pub async fn take(client: &Client) -> Result<Self> {
        let api_server = text(client, "/metrics").await?;
        let writes = samples(&api_server, "apiserver_request_total")
            .filter(|(labels, _)| ["POST", "PUT", "PATCH", "APPLY", "DELETE"].contains(&label(labels, "verb")))
            .fold(BTreeMap::new(), |mut sum, (labels, value)| {
                let sub = label(labels, "subresource");
                let slash = if sub.is_empty() { "" } else { "/" };
                *sum.entry(format!("{} {}{slash}{sub}", label(labels, "verb"), label(labels, "resource")))
                    .or_insert(0.0) += value;
                sum
            });
        let operator = operator_metrics(client).await?;
        let kafka =
            samples(&operator, "weir_kafka_requests_total").fold(BTreeMap::new(), |mut sum, (labels, value)| {
                *sum.entry(label(labels, "api").to_owned()).or_insert(0.0) += value;
                sum
            });
        let cpu = samples(&operator, "process_cpu_seconds_total").map(|(_, v)| v).sum();
        Ok(Self { writes, kafka, cpu })
    }

    /// Resident memory of the operator in MiB.
    ///
    /// # Errors
    /// The operator does not tell.
    pub async fn memory(client: &Client) -> Result<f64> {
        let operator = operator_metrics(client).await?;
        Ok(samples(&operator, "process_resident_memory_bytes").map(|(_, v)| v).sum::<f64>() / 1048576.0)
    }

    /// Prints what happened since `before`, for `n` bindings.
    pub fn report(&self, before: &Self, n: usize, peak_mib: f64) {
        let each = |now: &BTreeMap<String, f64>, then: &BTreeMap<String, f64>| -> Vec<(String, f64)> {
            let since = now.iter().map(|(k, v)| (k.clone(), v - then.get(k).unwrap_or(&0.0)));
            since.filter(|(_, d)| *d > 0.0).collect()
        };
        let kafka = each(&self.kafka, &before.kafka);
        println!("  CPU of the operator   {:8.1} s", self.cpu - before.cpu);
        println!("  peak memory           {peak_mib:8.0} MiB");
        println!("  requests to Kafka     {:8}", kafka.iter().map(|(_, v)| v).sum::<f64>());
        kafka.iter().for_each(|(api, count)| println!("    {count:8} {api}"));
        println!("  writes to the API server, a binding (with its client)");
        for (what, count) in each(&self.writes, &before.writes).into_iter().filter(|(_, c)| *c >= n as f64 / 20.0) {
            println!("    {:8.2} {what}", count / n as f64);
        }
    }
}

/// The metrics of the instance that leads: the others have none of a cluster.
async fn operator_metrics(client: &Client) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "weir-system");
    let list = pods.list(&ListParams::default().labels("app.kubernetes.io/name=weir")).await?;
    for pod in list {
        let Some(name) = pod.metadata.name else { continue };
        let path = format!("/api/v1/namespaces/weir-system/pods/{name}:8080/proxy/metrics");
        if let Ok(metrics) = text(client, &path).await
            && metrics.contains("weir_cluster_governing")
        {
            return Ok(metrics);
        }
    }
    anyhow::bail!("no leading instance of Weir in weir-system")
}

async fn text(client: &Client, path: &str) -> Result<String> {
    let request = http::Request::get(path).body(Vec::new())?;
    client.request_text(request).await.with_context(|| format!("failed to read {path}"))
}

/// Samples of one metric in the Prometheus text format: labels and value.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.trim().parse().ok()?))
    })
}

fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let wanted = format!("{name}=\"");
    labels
        .match_indices(&wanted)
        .find(|(at, _)| *at == 0 || labels[..*at].ends_with(','))
        .and_then(|(at, _)| labels[at + wanted.len()..].split('"').next())
        .unwrap_or("")
}
