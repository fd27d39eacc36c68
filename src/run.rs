//! Wires everything together: leader election, watches, reconcilers, and the web server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store;
use kube::{Api, Client, Resource, ResourceExt};
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::{AccessApproval, Action, Invitation};
use crate::audit::intake::{self, Tokens};
use crate::controllers::announced::Announced;
use crate::controllers::audit::Trail;
use crate::controllers::context::Context;
use crate::controllers::copies::Copies;
use crate::controllers::decisions::Decided;
use crate::controllers::fences::{self, Fences};
use crate::controllers::last_told::LastTold;
use crate::controllers::metrics::Metrics;
use crate::controllers::patience::Patience;
use crate::controllers::publisher::{Publisher, wake_owners};
use crate::controllers::reconcile::reconcile_kind;
use crate::controllers::usages::{self, Usages};
use crate::controllers::watching::{self, Watches};
use crate::controllers::world::{Queues, World};
use crate::controllers::{
    audit, data_product, decisions, external_share, partner, replication, role_binding, stream_client, stream_cluster,
    stream_role,
};
use crate::domain::audit::callers::{Callers, INTAKE};
use crate::domain::bundle::{ROTATE_ANNOTATION, SHARE_LABEL, guest_of, share_of};
use crate::domain::event::Happening;
use crate::domain::index::Update;
use crate::domain::ledger::Installation;
use crate::domain::names::ObjectKey;
use crate::domain::tenancy;
use crate::k8s::bundles::Bundles;
use crate::k8s::credentials::Secrets;
use crate::k8s::events::Events;
use crate::k8s::feed::{Fed, feed, feed_labelled};
use crate::k8s::lease::Candidate;
use crate::k8s::objects::object_ref;
use crate::k8s::policies::are_approvals_enforced;
use crate::k8s::reports::Reports;
use crate::tls::server::Certificates;
use crate::web::{Readiness, serve};

/// How many kinds must be synchronised before anything is removed.
const FEEDS: usize = 12;

/// How the operator is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that it runs in, with its Secrets and its Lease.
    pub namespace: String,
    /// The name of this instance.
    pub identity: String,
    /// Name of its ServiceAccount.
    pub service_account: String,
    /// Where probes and metrics are served.
    pub listen: SocketAddr,
    /// The address of this instance, as brokers and other instances see it.
    pub address: Option<IpAddr>,
    /// Where shippers of brokers' logs post, if they do.
    pub intake: Option<IntakeSettings>,
}

/// How the intake is run.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// `tls.crt` and `tls.key` of it; read again when they change.
    pub certificate: PathBuf,
}

/// Runs the operator until `shutdown`, or until leadership is lost.
///
/// # Errors
/// It cannot reach the API server, or cannot listen.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("failed to find out how to reach the API server")?;
    let namespace = Api::<Namespace>::all(client.clone())
        .get(&settings.namespace)
        .await
        .with_context(|| format!("failed to read namespace {}, which Weir runs in", settings.namespace))?;
    let installation = Installation {
        id: namespace.uid().unwrap_or_default(),
        namespace: settings.namespace.clone(),
        stream_cluster: None,
    };
    let readiness = Readiness::default();
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self())).context("failed to register metrics")?;
    let web = tokio::spawn(serve(settings.listen, readiness.clone(), registry.clone(), shutdown.clone()));
    let intake = match &settings.intake {
        Some(intake) => Some((
            TcpListener::bind(intake.listen).await.with_context(|| format!("failed to listen on {}", intake.listen))?,
            intake::certificates(&intake.certificate).context("the intake")?,
        )),
        None => None,
    };
    let own_intake = settings.address.zip(settings.intake.as_ref()).map(|(ip, i)| SocketAddr::new(ip, i.listen.port()));
    let candidate = Candidate::new(client.clone(), &settings.namespace, "weir", &settings.identity, own_intake);
    // Standing by is being ready: a rollout must not wait for the leader before to go.
    readiness.set(true);
    let leading = CancellationToken::new();
    let pass_on = async {
        match &intake {
            Some((listener, _)) => intake::pass_on(listener, candidate.leader_s_intake(), leading.clone()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = candidate.acquire() => leading.cancel(),
        () = pass_on => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    readiness.set(false);
    let leading = lead(client, &settings, installation, &candidate, (readiness, registry, intake), shutdown.clone());
    let mut leading = pin!(leading);
    let outcome = tokio::select! {
        () = candidate.keep() => {
            shutdown.cancel();
            // What was told is kept; nothing is written to a cluster any more.
            leading.await.and(Err(anyhow::anyhow!("leadership was lost: another instance takes over")))
        }
        outcome = &mut leading => outcome,
    };
    shutdown.cancel();
    candidate.release().await;
    web.await.context("the web server failed")?.context("failed to serve probes and metrics")?;
    outcome
}

async fn lead(
    client: Client,
    settings: &Settings,
    installation: Installation,
    candidate: &Candidate,
    (readiness, registry, intake): (Readiness, Registry, Option<(TcpListener, Certificates)>),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (clusters, cluster_queue) = mpsc::unbounded();
    let (products, product_queue) = mpsc::unbounded();
    let (roles, role_queue) = mpsc::unbounded();
    let (clients, client_queue) = mpsc::unbounded();
    let (bindings, binding_queue) = mpsc::unbounded();
    let (partners, partner_queue) = mpsc::unbounded();
    let (shares, share_queue) = mpsc::unbounded();
    let queues = Queues { clusters, products, roles, clients, bindings, partners, shares };
    let (owners, owner_queue) = tokio::sync::mpsc::unbounded_channel();
    let (trail, told) = Trail::new();
    let context = Arc::new(Context {
        world: World::new(queues),
        publisher: Publisher::new(client.clone(), owners, shutdown.clone()),
        secrets: Secrets::new(client.clone(), &settings.namespace),
        copies: Copies::default(),
        usages: Usages::default(),
        watches: Watches::default(),
        fences: Fences::default(),
        bundles: Bundles::new(client.clone(), &settings.namespace),
        events: Events::new(client.clone(), &settings.namespace, &settings.identity),
        trail,
        leadership: candidate.leadership(),
        installation,
        running_since: jiff::Timestamp::now(),
        away_since: candidate.away_since(),
        shutdown: shutdown.clone(),
        patience: Patience::default(),
        announced: Announced::default(),
        told_of_products: LastTold::default(),
        told_of_shares: LastTold::default(),
        access: std::sync::Mutex::default(),
        service_account: format!("{}:{}", settings.namespace, settings.service_account),
        client,
    });
    registry.register(Box::new(Metrics::new(&context)?)).context("failed to register metrics")?;
    let mut tasks = JoinSet::new();
    let (synced, mut all_synced) = watch::channel(0);
    let feeds = Feeds { context: context.clone(), synced };
    let cluster_store = feeds.watch(&mut tasks, |key, o| Update::Cluster(key.name, o));
    let product_store = feeds.watch(&mut tasks, Update::Product);
    let role_store = feeds.watch(&mut tasks, Update::Role);
    let client_store = feeds.watch(&mut tasks, Update::Client);
    let binding_store = feeds.watch(&mut tasks, Update::Binding);
    let partner_store = feeds.watch(&mut tasks, |key, o| Update::Partner(key.name, o));
    let share_store = feeds.watch(&mut tasks, Update::Share);
    feeds.watch(&mut tasks, |_, o| Update::Trail(o));
    tasks.spawn(watch_bundles(context.clone(), settings.namespace.clone()));
    let (decided, decisions_made) = tokio::sync::mpsc::unbounded_channel();
    let invited = decided.clone();
    // The receiver is gone only while the process ends.
    let of_decisions = context.clone();
    feeds.watch(&mut tasks, move |key, approval: Option<Arc<AccessApproval>>| {
        Decided::of(&of_decisions.world.index(), &key, approval.as_ref()).for_each(|it| drop(decided.send(it)));
        Update::Approval(key, approval)
    });
    feeds.watch(&mut tasks, move |key, invitation: Option<Arc<Invitation>>| {
        invitation.iter().for_each(|invitation| drop(invited.send(Decided::Invitation(invitation.clone()))));
        Update::Invitation(key, invitation)
    });
    let of_namespaces = context.clone();
    feeds.watch(&mut tasks, move |key, o| {
        if o.is_none() {
            of_namespaces.publisher.forget(&key.name);
        }
        Update::Namespace(key.name, o.as_deref().map(namespace))
    });
    feeds.watch(&mut tasks, |key, o: Option<Arc<PartialObjectMeta<ServiceAccount>>>| {
        Update::Account(key, o.and_then(|a| a.metadata.uid.clone()))
    });
    tokio::select! {
        result = all_synced.wait_for(|n| *n == FEEDS) => drop(result.context("a watch ended")?),
        () = shutdown.cancelled() => return Ok(()),
    }
    // Before anything is carried out: without it every approval would seem void.
    let enforced = tokio::select! {
        enforced = look_at_policies(&context) => enforced,
        () = shutdown.cancelled() => return Ok(()),
    };
    info!(enforced, "synchronised with the API server");
    readiness.set(true);
    let mut recording = tokio::spawn(audit::run(context.clone(), told));
    tasks.spawn(audit::deliver(context.clone()));
    let (heard, to_count) = intake::channel();
    let callers = Arc::new(Callers::new(INTAKE));
    if let Some(intake) = intake {
        let tokens = Tokens::default();
        intake::take(intake, tokens.clone(), (heard.clone(), callers.clone()), &registry, shutdown.clone())
            .context("failed to register metrics")?;
        tasks.spawn(audit::tokens(context.clone(), tokens));
    }
    tasks.spawn(audit::follow(context.clone(), heard));
    tasks.spawn(audit::turned_away(context.clone(), Reports::new(context.client.clone(), &settings.namespace)));
    let mut hearing = tokio::spawn(audit::hear(context.clone(), to_count, callers, settings.address));
    let (at_once, soon) = (Duration::from_millis(1), Duration::from_millis(300));
    tasks.spawn(reconcile_kind(context.clone(), cluster_store, cluster_queue, at_once, stream_cluster::reconcile));
    tasks.spawn(reconcile_kind(context.clone(), product_store, product_queue, soon, data_product::reconcile));
    tasks.spawn(reconcile_kind(context.clone(), role_store, role_queue, soon, stream_role::reconcile));
    tasks.spawn(reconcile_kind(context.clone(), client_store, client_queue, at_once, stream_client::reconcile));
    tasks.spawn(reconcile_kind(context.clone(), binding_store, binding_queue, at_once, role_binding::reconcile));
    tasks.spawn(reconcile_kind(context.clone(), partner_store, partner_queue, soon, partner::reconcile));
    tasks.spawn(reconcile_kind(context.clone(), share_store, share_queue, at_once, external_share::reconcile));
    tasks.spawn(wake_owners(context.clone(), owner_queue));
    tasks.spawn(decisions::announce(context.clone(), decisions_made));
    tasks.spawn(replication::run(context.clone()));
    tokio::spawn(tell_of_leader(context.clone(), settings.clone()));
    tasks.spawn(usages::run(context.clone()));
    tasks.spawn(watching::run(context.clone()));
    tasks.spawn(fences::run(context.clone()));
    tasks.spawn(audit::retention::run(context.clone()));
    tasks.spawn(keep_looking_at_policies(context.clone()));
    tasks.spawn(expire(context.clone()));
    let ended = tokio::select! {
        () = shutdown.cancelled() => None,
        ended = tasks.join_next() => Some(format!("{ended:?}")),
        ended = &mut recording => Some(format!("{ended:?}")),
        ended = &mut hearing => Some(format!("{ended:?}")),
    };
    shutdown.cancel();
    tasks.shutdown().await;
    wind_up(&context, hearing, recording).await;
    match ended {
        None => Ok(()),
        Some(ended) => {
            error!(ended, "a task ended that never should");
            anyhow::bail!("a task ended that never should")
        }
    }
}

/// What was heard is told, and what was told is on record, or kept.
async fn wind_up(context: &Context, mut hearing: JoinHandle<()>, mut recording: JoinHandle<()>) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let is_counted = hearing.is_finished() || timeout(PATIENCE, &mut hearing).await.is_ok();
    context.trail.finish();
    // What held it up was the topic, and is given up by now.
    if !is_counted && timeout(PATIENCE, &mut hearing).await.is_err() {
        warn!("what brokers told last was not counted in time");
        hearing.abort();
    }
    if !recording.is_finished() && timeout(PATIENCE, &mut recording).await.is_err() {
        warn!("the last events were not put on record in time");
    }
}

/// Puts on record that this instance leads.
async fn tell_of_leader(context: Arc<Context>, settings: Settings) {
    let lease = object_ref("Lease", &ObjectKey::new(&settings.namespace, "weir"), None);
    let message = format!("instance {} leads", settings.identity);
    let happening = Happening::new(Action::LeaderChanged, lease, "Leading", message);
    context.record(happening, &format!("{}/{}", settings.identity, context.running_since)).await;
}

/// Takes note of what partners fetched and wish for.
async fn watch_bundles(context: Arc<Context>, namespace: String) {
    loop {
        let maps: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(context.client.clone(), &namespace);
        let mut of_share = BTreeMap::new();
        feed_labelled(maps, SHARE_LABEL, |fed| match fed {
            Fed::Present(key, map) => {
                let wish = map.annotations().get(ROTATE_ANNOTATION).cloned();
                if let Some((guest, share)) = guest_of(&key.name).zip(share_of(&map.metadata)) {
                    of_share.insert(guest.to_owned(), share.clone());
                    context.world.apply(Update::Wish(share, guest.to_owned(), wish));
                }
            }
            Fed::Gone(key) => {
                if let Some((guest, share)) = guest_of(&key.name).and_then(|g| of_share.remove_entry(g)) {
                    context.world.apply(Update::Wish(share, guest, None));
                }
            }
            Fed::Synced => {}
        })
        .await;
        // Refused: without the right, partners' wishes are not heard, and everything else goes on.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

/// Lets bindings expire when their time comes.
async fn expire(context: Arc<Context>) {
    const LONGEST: Duration = Duration::from_secs(1);
    loop {
        let next = context.world.index().next_expiry();
        let wait = next.map(|at| Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default());
        tokio::time::sleep(wait.map_or(LONGEST, |w| w.min(LONGEST))).await;
        if next.is_some_and(|at| at <= jiff::Timestamp::now()) {
            context.world.apply(Update::Tick);
        }
    }
}

/// Asks until the API server answers whether approvals can count.
async fn look_at_policies(context: &Context) -> bool {
    loop {
        match are_approvals_enforced(&context.client).await {
            Ok(enforced) => {
                context.world.apply(Update::ApprovalsEnforced(enforced));
                return enforced;
            }
            Err(error) => {
                warn!(%error, "failed to look at the admission policies of approvals");
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }
}

async fn keep_looking_at_policies(context: Arc<Context>) {
    const EVERY: Duration = Duration::from_secs(15);
    loop {
        tokio::time::sleep(EVERY).await;
        look_at_policies(&context).await;
    }
}

struct Feeds {
    context: Arc<Context>,
    synced: watch::Sender<usize>,
}

impl Feeds {
    /// Watches a kind in all namespaces, and turns what it tells into updates of the index.
    fn watch<K>(
        &self,
        tasks: &mut JoinSet<()>,
        update: impl Fn(ObjectKey, Option<Arc<K>>) -> Update + Send + 'static,
    ) -> store::Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        let writer = store::Writer::<K>::default();
        let reader = writer.as_reader();
        let (context, synced) = (self.context.clone(), self.synced.clone());
        let tell = move |fed| match fed {
            Fed::Present(key, object) => context.world.apply(update(key, Some(Arc::new(object)))),
            Fed::Gone(key) => context.world.apply(update(key, None)),
            Fed::Synced => synced.send_modify(|n| *n += 1),
        };
        let task: BoxFuture<'static, ()> = feed(Api::all(self.context.client.clone()), writer, tell).boxed();
        tasks.spawn(task);
        reader
    }
}

fn namespace(object: &Namespace) -> tenancy::Namespace {
    tenancy::Namespace {
        labels: object.labels().clone(),
        created: object.creation_timestamp().map_or(i64::MAX, |t| t.0.as_millisecond()),
        deleting: object.metadata.deletion_timestamp.is_some(),
    }
}
