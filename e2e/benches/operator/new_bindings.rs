//! New clients and bindings, until every broker was seen to have them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use weir::api::{RoleBinding, StreamClient, StreamCluster};

use crate::measure::Measure;

/// Where the benchmark works.
const NAMESPACE: &str = "bench";
/// How many creations are under way at once.
const IN_FLIGHT: usize = 32;
/// How long it may take in all.
const LIMIT: Duration = Duration::from_secs(600);

/// `n` new StreamClients with a RoleBinding each, from the first creation until every one of both is Ready, as verified on every
/// broker. Prints what that cost.
///
/// # Errors
/// The operator is not installed, or does not get there.
pub async fn run(n: usize) -> Result<()> {
    let client = Client::try_default().await.context("no cluster: run this by `make bench`")?;
    once(&client, n).await.map(drop)
}

/// The same; how long it was until all were Ready.
///
/// # Errors
/// As above.
pub async fn once(client: &Client, n: usize) -> Result<Duration> {
    clean(client).await?;
    prepare(client).await?;
    let before = Measure::take(client).await?;
    let started = Instant::now();
    create(client, n).await?;
    let created = started.elapsed();
    let (ready, peak) = all_ready(client, n, started).await?;
    let after = Measure::take(client).await?;
    println!("{n} StreamClients and {n} RoleBindings, 2 streams each");
    println!("  created in            {:8.1} s", created.as_secs_f64());
    println!(
        "  all Ready after       {:8.1} s   ({:.0} bindings/s)",
        ready.as_secs_f64(),
        n as f64 / ready.as_secs_f64()
    );
    after.report(&before, n, peak);
    clean(client).await?;
    Ok(ready)
}

async fn prepare(client: &Client) -> Result<()> {
    // As often as by default: tests compare the whole cluster every few seconds.
    let clusters: Api<StreamCluster> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"spec": {"resyncInterval": "10m"}}));
    clusters.patch("main", &PatchParams::default(), &patch).await.context("no StreamCluster main: make demo has it")?;
    apply(
        client,
        json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"weir.dev/tenant": "true"}}}),
    )
    .await?;
    apply(
        client,
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "weir-credentials", "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir-credentials"},
        "subjects": [{"kind": "ServiceAccount", "name": "weir", "namespace": "weir-system"}]}),
    )
    .await?;
    apply(
        client,
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "DataProduct",
        "metadata": {"name": "load", "namespace": NAMESPACE},
        "spec": {"clusterRef": {"name": "main"}, "deletionPolicy": "Delete", "streams": [{"name": "a"}, {"name": "b"}]}}),
    )
    .await?;
    apply(
        client,
        json!({"apiVersion": "weir.dev/v1alpha1", "kind": "StreamRole",
        "metadata": {"name": "reader", "namespace": NAMESPACE},
        "spec": {"privileges": [{"products": {"names": ["load"]}, "access": ["Read"]}],
                 "quotas": {"consumerByteRate": 1_000_000}}}),
    )
    .await?;
    let products: Api<weir::api::DataProduct> = Api::namespaced(client.clone(), NAMESPACE);
    wait(Duration::from_secs(60), "DataProduct load Ready", || async {
        let product = products.get("load").await?;
        Ok(is_ready(product.status.map(|s| s.conditions)))
    })
    .await
}

async fn create(client: &Client, n: usize) -> Result<()> {
    let clients: Api<StreamClient> = Api::namespaced(client.clone(), NAMESPACE);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
    let one = |i: usize| {
        let (clients, bindings) = (clients.clone(), bindings.clone());
        async move {
            let name = format!("c{i:05}");
            let object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "StreamClient",
                "metadata": {"name": name}, "spec": {"clusterRef": {"name": "main"}}});
            clients.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
            let object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "RoleBinding", "metadata": {"name": name},
                "spec": {"roleRef": {"namespace": NAMESPACE, "name": "reader"},
                         "subjects": [{"kind": "StreamClient", "name": name}]}});
            bindings.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
            Ok::<_, anyhow::Error>(())
        }
    };
    stream::iter(0..n).map(one).buffer_unordered(IN_FLIGHT).try_collect::<Vec<_>>().await?;
    Ok(())
}

/// Waits until all is Ready; returns when that was, since `started`, and the most memory that the operator was seen with.
async fn all_ready(client: &Client, n: usize, started: Instant) -> Result<(Duration, f64)> {
    let clients: Api<StreamClient> = Api::namespaced(client.clone(), NAMESPACE);
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
    let mut peak = 0f64;
    loop {
        peak = peak.max(Measure::memory(client).await?);
        let list = ListParams::default();
        let ready_bindings = bindings
            .list(&list)
            .await?
            .into_iter()
            .filter(|b| is_ready(b.status.as_ref().map(|s| s.conditions.clone())))
            .count();
        let ready_clients = clients
            .list(&list)
            .await?
            .into_iter()
            .filter(|c| is_ready(c.status.as_ref().map(|s| s.conditions.clone())))
            .count();
        if ready_bindings == n && ready_clients == n {
            return Ok((started.elapsed(), peak));
        }
        if started.elapsed() > LIMIT {
            bail!("after {LIMIT:?}, {ready_bindings} bindings and {ready_clients} clients of {n} are Ready");
        }
        eprintln!(
            "{:6.1} s: {ready_bindings} bindings and {ready_clients} clients Ready",
            started.elapsed().as_secs_f64()
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn clean(client: &Client) -> Result<()> {
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    if namespaces.get_opt(NAMESPACE).await?.is_none() {
        return Ok(());
    }
    let started = Instant::now();
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    wait(LIMIT, "namespace bench gone", || async { Ok(namespaces.get_opt(NAMESPACE).await?.is_none()) }).await?;
    println!("  namespace with all of it gone after {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

pub fn is_ready(conditions: Option<Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>>) -> bool {
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

async fn apply(client: &Client, object: Value) -> Result<()> {
    let object: kube::core::DynamicObject = serde_json::from_value(object)?;
    let types = object.types.clone().context("an object without a kind")?;
    let gvk = kube::core::GroupVersionKind::try_from(types)?;
    let resource = kube::core::ApiResource::from_gvk(&gvk);
    let api: Api<kube::core::DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    api.patch(&object.name_any(), &PatchParams::apply("bench").force(), &Patch::Apply(&object)).await?;
    Ok(())
}

pub async fn wait<F: Future<Output = Result<bool>>>(
    limit: Duration,
    what: &str,
    condition: impl Fn() -> F,
) -> Result<()> {
    let started = Instant::now();
    while !condition().await? {
        if started.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
